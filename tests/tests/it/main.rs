//! Adit end to end: the two real programs, with real sockets between them. A file for each topic.

mod real;
mod smoke;
