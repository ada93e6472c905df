import { dirname } from "node:path";
import { fileURLToPath } from "node:url";

// The packages lie one folder up, and the root decides what `standalone` copies and where:
// the server is `.next/standalone/next/server.js`.
const root = dirname(dirname(fileURLToPath(import.meta.url)));

export default {
  output: "standalone",
  outputFileTracingRoot: root,
  turbopack: { root },
  images: { unoptimized: true },
};
