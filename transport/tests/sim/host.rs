//! One end of a connection: quinn's endpoint and connection, and an application that writes or reads.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use quinn_proto::{ClientConfig, Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, StreamId};

const CHUNK: Bytes = Bytes::from_static(&[0; 1 << 20]);

/// What the sending application does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Load {
    Idle,
    /// Writes as much as quinn takes.
    Bulk,
    /// Writes so many bytes each time the interval is over.
    Requests {
        bytes: usize,
        every: Duration,
    },
}

pub(crate) struct Host {
    endpoint: Endpoint,
    connection: Option<(ConnectionHandle, Connection)>,
    peer: SocketAddr,
    stream: Option<StreamId>,
    pub(crate) load: Load,
    request_due: Instant,
    /// When the world will drive this host next by itself.
    pub(crate) alarm: Option<Duration>,
    /// Of a request, what quinn has not taken yet.
    request_left: usize,
    /// Bytes of the application that arrived, in order.
    pub(crate) received: u64,
}

impl Host {
    pub(crate) fn new(endpoint: Endpoint, peer: SocketAddr, now: Instant) -> Self {
        Self {
            endpoint,
            connection: None,
            peer,
            stream: None,
            load: Load::Idle,
            request_due: now,
            alarm: None,
            request_left: 0,
            received: 0,
        }
    }

    pub(crate) fn connect(&mut self, now: Instant, config: ClientConfig) {
        self.connection = Some(self.endpoint.connect(now, config, self.peer, "localhost").unwrap());
    }

    pub(crate) fn connection(&self) -> Option<&Connection> {
        self.connection.as_ref().map(|(_, connection)| connection)
    }

    pub(crate) fn receive(&mut self, now: Instant, datagram: BytesMut) {
        let mut response = Vec::new();
        match self.endpoint.handle(now, self.peer, None, None, datagram, &mut response) {
            Some(DatagramEvent::NewConnection(incoming)) => {
                self.connection = self.endpoint.accept(incoming, now, &mut response, None).ok();
            }
            Some(DatagramEvent::ConnectionEvent(_, event)) => {
                if let Some((_, connection)) = &mut self.connection {
                    connection.handle_event(event);
                }
            }
            Some(DatagramEvent::Response(_)) | None => {}
        }
    }

    /// Does all that is due, and returns what is to be sent.
    pub(crate) fn drive(&mut self, now: Instant) -> Vec<BytesMut> {
        let Some((handle, mut connection)) = self.connection.take() else { return Vec::new() };
        if connection.poll_timeout().is_some_and(|due| due <= now) {
            connection.handle_timeout(now);
        }
        while let Some(event) = connection.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(handle, event) {
                connection.handle_event(event);
            }
        }
        while connection.poll().is_some() {}
        self.read(&mut connection);
        self.write(&mut connection, now);
        let sent = transmit(&mut connection, now);
        self.connection = Some((handle, connection));
        sent
    }

    /// When [`drive`](Self::drive) has something to do, if nothing arrives.
    pub(crate) fn next_due(&mut self) -> Option<Instant> {
        let timer = self.connection.as_mut().and_then(|(_, connection)| connection.poll_timeout());
        let requests = self.stream.is_some() && matches!(self.load, Load::Requests { .. });
        let request = requests.then_some(self.request_due);
        timer.into_iter().chain(request).min()
    }

    fn read(&mut self, connection: &mut Connection) {
        if self.stream.is_none() && connection.side().is_server() {
            self.stream = connection.streams().accept(Dir::Uni);
        }
        let Some(id) = self.stream.filter(|_| connection.side().is_server()) else { return };
        let mut stream = connection.recv_stream(id);
        let Ok(mut chunks) = stream.read(true) else { return };
        while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
            self.received += chunk.bytes.len() as u64;
        }
        let _ = chunks.finalize();
    }

    fn write(&mut self, connection: &mut Connection, now: Instant) {
        if connection.is_handshaking() || connection.side().is_server() {
            return;
        }
        let Some(id) = self.stream.or_else(|| connection.streams().open(Dir::Uni)) else { return };
        self.stream = Some(id);
        match self.load {
            Load::Idle => {}
            Load::Bulk => while connection.send_stream(id).write_chunks(&mut [CHUNK]).is_ok() {},
            Load::Requests { bytes, every } => {
                if self.request_due <= now {
                    self.request_due = now + every;
                    self.request_left = bytes;
                }
                while self.request_left > 0 {
                    let mut rest = [CHUNK.slice(..self.request_left.min(CHUNK.len()))];
                    let Ok(written) = connection.send_stream(id).write_chunks(&mut rest) else { break };
                    self.request_left -= written.bytes;
                }
            }
        }
    }
}

/// As many at once as quinn's own driver asks for.
const SEGMENTS: usize = 10;

fn transmit(connection: &mut Connection, now: Instant) -> Vec<BytesMut> {
    let mut sent = Vec::new();
    let mut buffer = Vec::new();
    while let Some(transmit) = connection.poll_transmit(now, SEGMENTS, &mut buffer) {
        let segment = transmit.segment_size.unwrap_or(transmit.size);
        sent.extend(buffer[..transmit.size].chunks(segment).map(BytesMut::from));
        buffer.clear();
    }
    sent
}
