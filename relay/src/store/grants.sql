-- Schema 3: beside hostnames, services that a peer may reach and tags that it has. SQLite cannot change a CHECK, so both
-- tables are made anew; nothing refers to them.

CREATE TABLE new_grants (
    peer_id INTEGER NOT NULL REFERENCES peers (id) ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK (kind IN ('hostname', 'service', 'tag')),
    value TEXT NOT NULL,
    PRIMARY KEY (peer_id, kind, value)
) STRICT, WITHOUT ROWID;

INSERT INTO new_grants (peer_id, kind, value) SELECT peer_id, kind, value FROM grants;
DROP TABLE grants;
ALTER TABLE new_grants RENAME TO grants;

CREATE TABLE new_token_grants (
    token_id INTEGER NOT NULL REFERENCES tokens (id) ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK (kind IN ('hostname', 'service', 'tag')),
    value TEXT NOT NULL,
    PRIMARY KEY (token_id, kind, value)
) STRICT, WITHOUT ROWID;

INSERT INTO new_token_grants (token_id, kind, value) SELECT token_id, kind, value FROM token_grants;
DROP TABLE token_grants;
ALTER TABLE new_token_grants RENAME TO token_grants;

PRAGMA user_version = 3;
