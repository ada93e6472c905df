// Two y-websocket clients that edit one document through a public URL at the same time.
//
//   node yjs-clients.mjs wss://kryton.example.com[:PORT]/ws/yjs/DOC CA_FILE HOST:PORT [--cookie C] [--token T]
//
// Only certificates under CA_FILE are trusted; connections go to HOST:PORT whatever the URL's name resolves to.
// Prints one line {"converged":true,"text":...} and exits 0, or {"converged":false,"reason":...} and exits 1.

import { parseArgs } from "node:util";
import WebSocket from "ws";
import { WebsocketProvider } from "y-websocket";
import * as Y from "yjs";
import { connectOptions } from "./connect-to.mjs";
import { COOKIE, SUBPROTOCOL, TOKEN } from "./kryton.mjs";

const DEADLINE_MS = 20_000;
const EDITS = 20;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { cookie: { type: "string", default: COOKIE }, token: { type: "string", default: TOKEN } },
});
const [url, caFile, connectTo] = positionals;
if (!connectTo) {
  console.error("usage: yjs-clients.mjs URL CA_FILE HOST:PORT [--cookie C] [--token T]");
  process.exit(2);
}

const deadline = setTimeout(() => finish({ converged: false, reason: "deadline", ...seen() }), DEADLINE_MS);
const connect = connectOptions(url, caFile, connectTo);
let lastError = "none";

class KrytonSocket extends WebSocket {
  constructor(address) {
    super(address, [SUBPROTOCOL, values.token], {
      ...connect,
      headers: { Cookie: values.cookie },
      // ws joins the pair without a space; browsers, and so Kryton's users, send one.
      finishRequest: (request) => {
        request.setHeader("Sec-WebSocket-Protocol", `${SUBPROTOCOL}, ${values.token}`);
        request.end();
      },
    });
    this.on("error", onError);
    this.on("unexpected-response", onRefused);
  }
}

/** A relay or an origin that is about to come back is worth waiting for; a bad certificate is not. */
function onError(error) {
  lastError = `${error.code ?? "error"}: ${error.message}`;
  if (!["ECONNREFUSED", "ECONNRESET", "EPIPE", "ETIMEDOUT"].includes(error.code)) {
    finish({ converged: false, reason: lastError });
  }
}

async function onRefused(request, response) {
  let body = "";
  for await (const chunk of response.setEncoding("utf8")) {
    body += chunk;
  }
  lastError = `status ${response.statusCode}: ${body}`;
  if (response.statusCode < 500) {
    finish({ converged: false, reason: lastError });
  }
  request.destroy();
}

const slash = url.lastIndexOf("/");
const clients = ["left", "right"].map((name) => {
  const doc = new Y.Doc();
  const provider = new WebsocketProvider(url.slice(0, slash), url.slice(slash + 1), doc, {
    WebSocketPolyfill: KrytonSocket,
    // Otherwise the two would meet inside this process, and nothing would cross the wire.
    disableBc: true,
  });
  provider.awareness.setLocalStateField("user", { name });
  const text = doc.getText("note");
  text.observe(check);
  provider.awareness.on("change", check);
  provider.on("sync", check);
  return { name, doc, provider, text, edits: 0 };
});
await Promise.all(clients.map(edit));
check();

/** Some edits are made before the first sync, some after it, all at the start, where they collide. */
async function edit(client) {
  for (; client.edits < EDITS; client.edits += 1) {
    client.text.insert(0, `<${client.name}-${client.edits}>`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function check() {
  if (clients.every((client) => client.edits === EDITS && client.provider.synced) && converged()) {
    const { other: _, lastError: __, ...result } = seen();
    finish({ converged: true, ...result });
  }
}

function converged() {
  const [left, right] = clients;
  const text = left.text.toString();
  return (
    text === right.text.toString() &&
    clients.every(({ name }) => Array.from({ length: EDITS }).every((_, i) => text.includes(`<${name}-${i}>`))) &&
    clients.every(({ provider }) => provider.ws?.protocol === SUBPROTOCOL) &&
    clients.every(({ provider }) => provider.awareness.getStates().size >= clients.length)
  );
}

function seen() {
  const [left, right] = clients;
  return {
    text: left.text.toString(),
    other: right.text.toString(),
    protocols: clients.map(({ provider }) => provider.ws?.protocol ?? null),
    present: clients.map(({ provider }) => provider.awareness.getStates().size),
    lastError,
  };
}

function finish(result) {
  clearTimeout(deadline);
  process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(result.converged ? 0 : 1));
}
