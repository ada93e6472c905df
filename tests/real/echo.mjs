// The origin that the HTTP visitors of other people ask: bodies both ways, trailers, hints, and a count of
// what came and of what was broken off.
//
//   node echo.mjs
//
// Prints one line {"port":N} once it listens on 127.0.0.1, and serves until it is told to stop.

import http from "node:http";
import { WebSocketServer } from "ws";

const counts = { downloads_dropped: 0, uploads_begun: 0, uploads_whole: 0, uploads_broken: 0 };
const PIECE = Buffer.from(Array.from({ length: 251 * 64 }, (_, index) => index % 251));
const PAGE = "<!doctype html><title>Adit</title><link rel=icon href=data:,><p id=said>hello";

const paths = {
  "/hello": (request, response) => {
    const tag = '"5"';
    if (request.headers["if-none-match"] === tag) {
      return response.writeHead(304, { etag: tag }).end();
    }
    response.writeHead(200, { "content-type": "text/plain", "content-length": 5, etag: tag }).end("hello");
  },
  "/page": (_request, response) => response.writeHead(200, { "content-type": "text/html" }).end(PAGE),
  "/told": (request, response) => json(response, request.headers),
  "/counts": (_request, response) => json(response, counts),
  "/echo": echo,
  "/sink": sink,
  "/large": large,
  "/endless": endless,
  "/hinted": (_request, response) => {
    response.writeEarlyHints({ link: "</a.css>; rel=preload" }, () => response.end("hello"));
  },
  "/trailed": (_request, response) => {
    response.writeHead(200, { trailer: "x-sum" });
    response.addTrailers({ "x-sum": "5" });
    response.end("hello");
  },
  // Breaks off in the middle of a chunked body.
  "/broken": (_request, response) => {
    response.writeHead(200);
    response.write(PIECE, () => response.socket.resetAndDestroy());
  },
  // Answers without having read.
  "/refuse": (_request, response) => response.writeHead(403, { "content-length": 2 }).end("no"),
};

function json(response, value) {
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(value));
}

/** Sends back what comes, piece by piece, and the trailers after it. */
function echo(request, response) {
  response.writeHead(200, request.headers.trailer ? { trailer: request.headers.trailer } : {});
  response.flushHeaders();
  request.pipe(response, { end: false });
  request.on("end", () => {
    response.addTrailers(request.trailers);
    response.end();
  });
}

function sink(request, response) {
  counts.uploads_begun += 1;
  request.resume();
  request.on("error", () => {});
  request.on("close", () => (counts[request.complete ? "uploads_whole" : "uploads_broken"] += 1));
  request.on("end", () => response.end());
}

function large(request, response) {
  let left = Number(request.url.split("?")[1]);
  response.writeHead(200, { "content-length": left });
  const write = () => {
    while (left > 0) {
      const piece = PIECE.subarray(0, Math.min(left, PIECE.length));
      left -= piece.length;
      if (!response.write(piece)) {
        return response.once("drain", write);
      }
    }
    response.end();
  };
  write();
}

function endless(_request, response) {
  response.writeHead(200);
  const write = () => {
    while (!response.destroyed && response.write(PIECE));
  };
  response.on("drain", write);
  response.on("close", () => (counts.downloads_dropped += 1));
  write();
}

const server = http.createServer((request, response) => {
  response.on("error", () => {});
  const answer = paths[request.url.split("?")[0]];
  answer ? answer(request, response) : response.writeHead(404).end();
});
// With the uploads' trailers and the visitors' many streams in mind, not a slow home server.
server.requestTimeout = 0;

const sockets = new WebSocketServer({ server, path: "/ws" });
sockets.on("connection", (socket) => {
  socket.on("error", () => {});
  socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
});
server.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ port: server.address().port })));
