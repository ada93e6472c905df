//! Which protocol this is. A change that an older peer cannot ignore needs a new ALPN; everything else is a new field or
//! a new message kind, which the other side skips.

/// The ALPN of sessions, over QUIC and over TLS on TCP.
pub const ALPN: &[u8] = b"adit/1";

/// The ALPN of connections directly between two agents.
pub const ALPN_DIRECT: &[u8] = b"adit-direct/1";

/// Mixed into every handshake, so that two ends that speak different protocols never agree on a key.
pub const PROLOGUE: &[u8] = b"adit/1 session";

/// Label under which both ends export keying material from their TLS connection (RFC 8446, section 7.5).
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-adit-1-session";
