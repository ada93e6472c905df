-- Schema 2: certificates of an ACME CA. Keys and credentials are here and in memory, nowhere else.

-- One account with each CA, known by its directory.
CREATE TABLE acme_accounts (
    directory TEXT NOT NULL PRIMARY KEY,
    credentials TEXT NOT NULL
) STRICT;

CREATE TABLE certificates (
    name TEXT NOT NULL PRIMARY KEY,
    directory TEXT NOT NULL,
    chain TEXT NOT NULL,
    key TEXT NOT NULL
) STRICT;

-- What is under way for a hostname: who orders it until when, the order that is open, and how it failed the last time.
CREATE TABLE orders (
    name TEXT NOT NULL PRIMARY KEY,
    holder TEXT,
    held_until INTEGER NOT NULL DEFAULT 0,
    directory TEXT,
    url TEXT,
    key TEXT,
    failures INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    retry_at INTEGER NOT NULL DEFAULT 0,
    CHECK ((url IS NULL) = (directory IS NULL) AND (url IS NULL) = (key IS NULL))
) STRICT;

PRAGMA user_version = 2;
