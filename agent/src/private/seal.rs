//! The two directions of a stream to another peer through the relay, in records that only the two of them can read.

use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Buf as _, Bytes, BytesMut};
use protocol::close::StreamReset;
use protocol::private::{HEAD, Opened, PrivateError, Records, record_length};

use crate::splice::{Ends, FromRelay, Inlet, Outlet, PIECES, SpliceError, ToRelay};

/// A stream of which both keys are proven.
#[derive(Debug)]
pub(crate) struct SealedStream {
    records: Mutex<Records>,
    ends: Ends,
    came: Came,
}

/// What has come of the other peer's records.
#[derive(Debug, Default)]
struct Came {
    bytes: BytesMut,
    ended: bool,
}

impl SealedStream {
    pub(crate) fn new(records: Records, ends: Ends) -> Self {
        Self { records: Mutex::new(records), ends, came: Came::default() }
    }

    /// Its two directions.
    pub(crate) fn split(&mut self) -> (Sealing<'_>, Opening<'_>) {
        let Self { records, ends: Ends { to_relay, from_relay }, came } = self;
        (Sealing { records, to_relay }, Opening { records, from_relay, came })
    }

    /// What was said either way is not the whole.
    pub(crate) fn reset(&mut self, code: StreamReset) {
        self.ends.reset(code);
    }
}

/// The directions take turns, as both are of one task: nobody waits here.
fn lock(records: &Mutex<Records>) -> MutexGuard<'_, Records> {
    records.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts what is said here into records.
#[derive(Debug)]
pub(crate) struct Sealing<'s> {
    records: &'s Mutex<Records>,
    to_relay: &'s mut ToRelay,
}

impl<'s> Outlet for Sealing<'s> {
    async fn write(&mut self, piece: Bytes) -> Result<(), SpliceError> {
        let sealed = lock(self.records).seal(&piece).map_err(SpliceError::Private)?;
        self.to_relay.write(sealed.into()).await
    }

    fn heard(&mut self) {
        self.to_relay.heard();
    }

    fn stopped(&self) -> impl Future<Output = ()> + Send + use<'s> {
        self.to_relay.stopped()
    }

    async fn finish(&mut self) -> Result<(), SpliceError> {
        let farewell = lock(self.records).seal_end().map_err(SpliceError::Private)?;
        self.to_relay.write(farewell.into()).await?;
        self.to_relay.finish().await
    }
}

/// Takes what the other peer says out of its records.
#[derive(Debug)]
pub(crate) struct Opening<'s> {
    records: &'s Mutex<Records>,
    from_relay: &'s mut FromRelay,
    came: &'s mut Came,
}

impl Opening<'_> {
    /// What the whole records of what has come say, as far as there is room.
    fn opened(&mut self, pieces: &mut [Bytes; PIECES]) -> Result<usize, PrivateError> {
        let mut records = lock(self.records);
        let mut count = 0;
        while let Some(record) = next_record(&mut self.came.bytes, count)? {
            match records.open(&record)? {
                Opened::Data(data) => {
                    pieces[count] = data.into();
                    count += 1;
                }
                Opened::End => self.came.ended = true,
            }
        }
        Ok(count)
    }

    /// Waits for the end of the stream, before which nothing may come any more.
    async fn end(&mut self) -> Result<(), SpliceError> {
        let nothing_left =
            self.came.bytes.is_empty() && self.from_relay.read(&mut Default::default()).await?.is_none();
        if nothing_left { Ok(()) } else { Err(SpliceError::Private(PrivateError::AfterEnd)) }
    }
}

/// The next record, where all of it has come and there is room for what it says.
fn next_record(came: &mut BytesMut, count: usize) -> Result<Option<BytesMut>, PrivateError> {
    let Some(head) = came.first_chunk::<HEAD>().filter(|_| count < PIECES) else { return Ok(None) };
    let length = record_length(*head)?;
    if came.len() < HEAD + length {
        came.reserve(HEAD + length - came.len());
        return Ok(None);
    }
    came.advance(HEAD);
    Ok(Some(came.split_to(length)))
}

impl Inlet for Opening<'_> {
    async fn read(&mut self, pieces: &mut [Bytes; PIECES]) -> Result<Option<usize>, SpliceError> {
        loop {
            let count = self.opened(pieces).map_err(SpliceError::Private)?;
            if count > 0 {
                return Ok(Some(count));
            }
            if self.came.ended {
                return self.end().await.map(|()| None);
            }
            let mut sealed: [Bytes; PIECES] = Default::default();
            // The end of the stream alone may be somebody's on the way.
            let count = self.from_relay.read(&mut sealed).await?.ok_or(SpliceError::Truncated)?;
            sealed
                .iter_mut()
                .take(count)
                .for_each(|piece| self.came.bytes.extend_from_slice(&mem::take(piece)));
        }
    }

    fn stop(&mut self, code: StreamReset) {
        self.from_relay.stop(code);
    }
}
