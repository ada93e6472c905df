-- Schema 1 of the relay's store. `kind` leaves room for other grants than hostnames. Ids are never used twice
-- (AUTOINCREMENT), so that no session and no line of the audit log is ever taken for a later peer's.

CREATE TABLE relay_keys (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    secret BLOB NOT NULL CHECK (length(secret) = 32)
) STRICT;

CREATE TABLE peers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    key BLOB NOT NULL UNIQUE CHECK (length(key) = 32),
    role TEXT NOT NULL CHECK (role IN ('host', 'operator')),
    enrolled_at INTEGER NOT NULL,
    last_seen_at INTEGER
) STRICT;

CREATE TABLE grants (
    peer_id INTEGER NOT NULL REFERENCES peers (id) ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK (kind IN ('hostname')),
    value TEXT NOT NULL,
    PRIMARY KEY (peer_id, kind, value)
) STRICT, WITHOUT ROWID;

-- `used_peer` is the claim of the peer that a token made to use it again; it goes when the peer goes. `used_name` is
-- for people and stays.
CREATE TABLE tokens (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    name TEXT,
    role TEXT NOT NULL CHECK (role IN ('host', 'operator')),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER,
    used_at INTEGER,
    used_name TEXT,
    used_peer INTEGER REFERENCES peers (id) ON DELETE SET NULL,
    CHECK (used_at IS NULL OR revoked_at IS NULL)
) STRICT;

CREATE INDEX tokens_used_peer ON tokens (used_peer);

CREATE TABLE token_grants (
    token_id INTEGER NOT NULL REFERENCES tokens (id) ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK (kind IN ('hostname')),
    value TEXT NOT NULL,
    PRIMARY KEY (token_id, kind, value)
) STRICT, WITHOUT ROWID;

-- `network` is what is counted against the limit of one address: the address itself, or the /64 of an IPv6 address.
CREATE TABLE pending (
    key BLOB NOT NULL PRIMARY KEY CHECK (length(key) = 32),
    code TEXT NOT NULL,
    wished TEXT,
    address TEXT NOT NULL,
    network TEXT NOT NULL,
    requested_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

-- Codes are compared in lower case and without their dashes.
CREATE UNIQUE INDEX pending_code ON pending (lower(replace(code, '-', '')));

CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL
) STRICT;

-- "ADIT": tells the store from other programs' files.
PRAGMA application_id = 1094994260;
PRAGMA user_version = 1;
