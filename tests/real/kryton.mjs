// The credentials that the Yjs clients send and that the server expects, character for character.

export const SUBPROTOCOL = "kryton-token";
export const TOKEN = "kr_9f2c41.yjs-agent~token";
export const COOKIE = "theme=dark; session=yjs-secret";
