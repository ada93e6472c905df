// The origin that stands for Kryton: Fastify behind a proxy that it trusts, with WebSockets and Yjs.
//
//   node fastify.mjs
//
// Prints one line {"port":N} once it listens on 127.0.0.1, and serves until it is told to stop.

import { createHash } from "node:crypto";
import { once } from "node:events";
import cookie from "@fastify/cookie";
import websocket from "@fastify/websocket";
import Fastify from "fastify";
import { COOKIE, SUBPROTOCOL, TOKEN } from "./kryton.mjs";
import { serveDocument } from "./yjs-server.mjs";

const app = Fastify({ trustProxy: true, forceCloseConnections: true });

await app.register(cookie);
// Of the protocols that are offered it selects the first: for Kryton's pair that is the name, not the token.
await app.register(websocket);

// Bodies stay streams, whatever their type and size.
app.removeAllContentTypeParsers();
app.addContentTypeParser("*", (_request, _body, done) => done(null));

app.get("/whoami", async (request) => ({
  ip: request.ip,
  ips: request.ips,
  protocol: request.protocol,
  hostname: request.hostname,
  host: request.host,
  method: request.method,
  url: request.raw.url,
  headers: request.headers,
  rawHeaders: request.raw.rawHeaders,
}));

app.post("/upload", { bodyLimit: Number.MAX_SAFE_INTEGER }, async (request) => {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of request.raw) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  return { bytes, sha256: hash.digest("hex") };
});

app.get("/set-cookie", async (_request, reply) => {
  reply.header("Set-Cookie", [
    "koda_operator_session=abc; Path=/; Secure; HttpOnly; SameSite=Strict",
    "theme=dark; Path=/; Max-Age=31536000; SameSite=Lax",
    "flash=; Path=/login; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Secure",
  ]);
  reply.header(
    "Content-Security-Policy",
    "default-src 'none'; script-src 'self' 'nonce-r4nd0m'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
  );
  reply.header("Server", "fastify-origin");
  return { ok: true };
});

app.get("/events", async (request, reply) => {
  reply.hijack();
  const { raw } = reply;
  raw.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
  let n = 0;
  const send = () => raw.write(`id: ${n}\ndata: ${JSON.stringify({ n: n++, at: Date.now() })}\n\n`);
  send();
  const timer = setInterval(send, 200);
  raw.once("close", () => clearInterval(timer));
});

app.get("/ws/echo", { websocket: true }, (socket) => {
  socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
});

app.get("/ws/yjs/:docId", { websocket: true, preValidation: requireKrytonSession }, (socket, request) => {
  serveDocument(socket, request.params.docId);
});

/** Lets an upgrade through only if both credentials arrived exactly as `yjs-clients.mjs` sends them. */
async function requireKrytonSession(request, reply) {
  const reason = refusal(request);
  if (reason) {
    return reply.code(401).send({ error: "unauthorized", reason });
  }
}

function refusal(request) {
  const cookies = rawValues(request, "cookie");
  if (cookies.length !== 1 || cookies[0] !== COOKIE) {
    return `Cookie arrived as ${JSON.stringify(cookies)}`;
  }
  if (request.cookies.session !== "yjs-secret") {
    return "the session cookie is not known";
  }
  const protocols = rawValues(request, "sec-websocket-protocol");
  if (protocols.length !== 1 || protocols[0] !== `${SUBPROTOCOL}, ${TOKEN}`) {
    return `Sec-WebSocket-Protocol arrived as ${JSON.stringify(protocols)}`;
  }
  return null;
}

/** Every line of a header as it was on the wire: `request.headers` joins and folds. */
function rawValues(request, name) {
  const { rawHeaders } = request.raw;
  return rawHeaders.filter((_, i) => i % 2 === 1 && rawHeaders[i - 1].toLowerCase() === name);
}

await app.listen({ host: "127.0.0.1", port: 0 });
process.stdout.write(`${JSON.stringify({ port: app.server.address().port })}\n`);

await Promise.race([once(process, "SIGTERM"), once(process, "SIGINT")]);
await app.close();
