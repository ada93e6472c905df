// The server's half of the y-websocket protocol, over y-protocols: `@y/websocket-server` speaks for
// the next major version of Yjs only.

import * as decoding from "lib0/decoding";
import * as encoding from "lib0/encoding";
import * as awareness from "y-protocols/awareness";
import * as sync from "y-protocols/sync";
import * as Y from "yjs";

const SYNC = 0;
const AWARENESS = 1;

const rooms = new Map();

/** Joins `socket` to the document, which lives as long as somebody has it open. */
export function serveDocument(socket, docId) {
  const room = rooms.get(docId) ?? openRoom(docId);
  room.sockets.set(socket, new Set());
  socket.binaryType = "arraybuffer";
  socket.on("message", (data) => onMessage(room, socket, new Uint8Array(data)));
  socket.on("close", () => leave(room, socket));
  socket.send(message(SYNC, (encoder) => sync.writeSyncStep1(encoder, room.doc)));
  const present = [...room.awareness.getStates().keys()];
  if (present.length > 0) {
    socket.send(awarenessMessage(room, present));
  }
}

function openRoom(docId) {
  const doc = new Y.Doc();
  const room = { docId, doc, awareness: new awareness.Awareness(doc), sockets: new Map() };
  room.awareness.setLocalState(null);
  doc.on("update", (update) => {
    broadcast(room, message(SYNC, (encoder) => sync.writeUpdate(encoder, update)));
  });
  room.awareness.on("update", ({ added, updated, removed }, socket) => {
    const owned = room.sockets.get(socket);
    added.forEach((id) => owned?.add(id));
    removed.forEach((id) => owned?.delete(id));
    broadcast(room, awarenessMessage(room, [...added, ...updated, ...removed]));
  });
  rooms.set(docId, room);
  return room;
}

function onMessage(room, socket, bytes) {
  const decoder = decoding.createDecoder(bytes);
  const kind = decoding.readVarUint(decoder);
  if (kind === AWARENESS) {
    awareness.applyAwarenessUpdate(room.awareness, decoding.readVarUint8Array(decoder), socket);
    return;
  }
  if (kind !== SYNC) {
    socket.close(1003, `message kind ${kind} is not known`);
    return;
  }
  const encoder = encoding.createEncoder();
  encoding.writeVarUint(encoder, SYNC);
  sync.readSyncMessage(decoder, encoder, room.doc, socket);
  if (encoding.length(encoder) > 1) {
    socket.send(encoding.toUint8Array(encoder));
  }
}

function leave(room, socket) {
  const owned = room.sockets.get(socket);
  room.sockets.delete(socket);
  awareness.removeAwarenessStates(room.awareness, [...owned], null);
  if (room.sockets.size === 0) {
    rooms.delete(room.docId);
    room.awareness.destroy();
    room.doc.destroy();
  }
}

function awarenessMessage(room, ids) {
  const update = awareness.encodeAwarenessUpdate(room.awareness, ids);
  return message(AWARENESS, (encoder) => encoding.writeVarUint8Array(encoder, update));
}

function message(kind, write) {
  const encoder = encoding.createEncoder();
  encoding.writeVarUint(encoder, kind);
  write(encoder);
  return encoding.toUint8Array(encoder);
}

function broadcast(room, bytes) {
  for (const socket of room.sockets.keys()) {
    if (socket.readyState === socket.OPEN) {
      socket.send(bytes);
    }
  }
}
