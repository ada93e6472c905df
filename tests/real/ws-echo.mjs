// Sends every WebSocket message back as it came, with permessage-deflate where it is asked for: what
// Autobahn's fuzzing client talks to.
//
//   node ws-echo.mjs
//
// Prints one line {"port":N} once it listens on 127.0.0.1, and serves until it is told to stop.

import { WebSocketServer } from "ws";

const server = new WebSocketServer({
  host: "127.0.0.1",
  port: 0,
  perMessageDeflate: true,
  // Cases 9.3 and 9.4 send 4 MiB in pieces of 64 bytes.
  maxFragments: 0,
  maxBufferedChunks: 0,
});

server.on("connection", (socket) => {
  // The fuzzing client breaks the protocol on purpose; `ws` closes by itself, with the right code.
  socket.on("error", () => {});
  socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
});
server.on("listening", () => console.log(JSON.stringify({ port: server.address().port })));
