// Where a public name leads in these tests: what `curl --connect-to` does, for TLS over node's sockets.

import { readFileSync } from "node:fs";
import tls from "node:tls";

/**
 * Options for `https.request` (and so for ws): connections for `url` go to `connectTo` ("host:port"),
 * while Host, SNI and the name that the certificate must carry stay the URL's.
 */
export function connectOptions(url, caFile, connectTo) {
  const colon = connectTo.lastIndexOf(":");
  const target = {
    host: connectTo.slice(0, colon).replace(/^\[|\]$/g, ""),
    port: Number(connectTo.slice(colon + 1)),
    servername: new URL(url).hostname,
    ca: readFileSync(caFile),
    ALPNProtocols: ["http/1.1"],
  };
  // Without an agent node takes 80 for the default port, and would write `:443` into Host.
  return { defaultPort: 443, createConnection: () => tls.connect(target) };
}
