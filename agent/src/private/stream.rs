//! A stream to another peer whose keys are proven: through the relay in records, or directly as it is, where the connection
//! itself is encrypted between the two.

use protocol::close::StreamReset;
use tokio::io::{AsyncRead, AsyncWrite};

use super::direct::InUse;
use super::seal::SealedStream;
use crate::origin::OriginStream;
use crate::splice::{Ends, Inlet, Outlet, SpliceError, both_ways, exchange};

#[derive(Debug)]
pub(crate) enum PrivateStream {
    Relayed(Box<SealedStream>),
    /// Looked after for as long as this is there, where it is the operator's.
    Direct {
        ends: Ends,
        _in_use: Option<InUse>,
    },
}

impl PrivateStream {
    /// Moves bytes to and from a connection until both directions have ended or something broke.
    ///
    /// # Errors
    ///
    /// What broke; both sides have been reset then.
    pub(crate) async fn splice(self, mut origin: OriginStream) -> Result<(), SpliceError> {
        let mut this = self;
        let ended = match &mut this {
            Self::Relayed(sealed) => {
                let (mut outlet, mut inlet) = sealed.split();
                exchange(&mut origin, &mut outlet, &mut inlet).await
            }
            Self::Direct { ends, .. } => {
                exchange(&mut origin, &mut ends.to_relay, &mut ends.from_relay).await
            }
        };
        match &ended {
            Ok(()) => origin.settle(),
            Err(error) => this.reset(error.reset()),
        }
        ended
    }

    /// The same for any two halves, which are the caller's to end.
    ///
    /// # Errors
    ///
    /// What broke; the stream has been reset then.
    pub(crate) async fn carry(
        self,
        reader: impl AsyncRead + Unpin,
        writer: impl AsyncWrite + Unpin,
    ) -> Result<(), SpliceError> {
        let mut this = self;
        let ended = match &mut this {
            Self::Relayed(sealed) => {
                let (mut outlet, mut inlet) = sealed.split();
                to_the_last_word(reader, writer, &mut outlet, &mut inlet).await
            }
            Self::Direct { ends, .. } => {
                to_the_last_word(reader, writer, &mut ends.to_relay, &mut ends.from_relay).await
            }
        };
        if let Err(error) = &ended {
            this.reset(error.reset());
        }
        ended
    }

    /// What was said either way is not the whole.
    pub(crate) fn reset(&mut self, code: StreamReset) {
        match self {
            Self::Relayed(sealed) => sealed.reset(code),
            Self::Direct { ends, .. } => ends.reset(code),
        }
    }
}

/// Until what was said has also been heard: this program may end after it, and nothing is sent again then.
async fn to_the_last_word(
    reader: impl AsyncRead + Unpin,
    writer: impl AsyncWrite + Unpin,
    outlet: &mut impl Outlet,
    inlet: &mut impl Inlet,
) -> Result<(), SpliceError> {
    both_ways(reader, writer, outlet, inlet).await?;
    outlet.stopped().await;
    Ok(())
}
