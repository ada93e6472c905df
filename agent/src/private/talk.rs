//! Two agents talk: one asks, the other answers, through the relay and unread by it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::private::LARGEST_RECORD;
use protocol::talk::{Described, Say};

use super::peers::{Caller, Peers};
use super::seal::SealedStream;
use super::stream::PrivateStream;
use crate::config::Target;
use crate::offer::Offers;
use crate::splice::{Inlet as _, Outlet as _, SpliceError};

/// For one answer.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a peer that asks nothing is listened to.
const SILENCE: Duration = Duration::from_secs(60);

/// Why a talk has ended.
#[derive(Debug, thiserror::Error)]
pub enum TalkError {
    #[error("the stream to the other agent broke")]
    Broke(#[source] SpliceError),
    #[error("the other agent has ended the talk")]
    Ended,
    #[error("what the other agent says cannot be understood")]
    Malformed(#[source] serde_json::Error),
    #[error("there is more to say than fits into a message")]
    TooLong,
    #[error("the other agent did not answer within {} s", ANSWER.as_secs())]
    TimedOut,
    #[error("the other agent answered something else")]
    OffTopic,
}

/// One talk.
#[derive(Debug)]
pub(crate) struct Talk {
    stream: Box<SealedStream>,
    heard: VecDeque<Bytes>,
}

impl Talk {
    pub(crate) fn new(stream: Box<SealedStream>) -> Self {
        Self { stream, heard: VecDeque::new() }
    }

    pub(crate) async fn say(&mut self, message: &Say) -> Result<(), TalkError> {
        let text = serde_json::to_vec(message).map_err(TalkError::Malformed)?;
        if text.len() > LARGEST_RECORD {
            return Err(TalkError::TooLong);
        }
        self.stream.split().0.write(text.into()).await.map_err(TalkError::Broke)
    }

    /// What the other says next.
    pub(crate) async fn hear(&mut self) -> Result<Say, TalkError> {
        loop {
            // A record is a message.
            if let Some(text) = self.heard.pop_front() {
                return serde_json::from_slice(&text).map_err(TalkError::Malformed);
            }
            let mut pieces = Default::default();
            let read = self.stream.split().1.read(&mut pieces).await.map_err(TalkError::Broke)?;
            let count = read.ok_or(TalkError::Ended)?;
            self.heard.extend(pieces.into_iter().take(count));
        }
    }

    /// Says something, and hears the answer.
    pub(crate) async fn ask(&mut self, message: &Say) -> Result<Say, TalkError> {
        let asking = async {
            self.say(message).await?;
            self.hear().await
        };
        tokio::time::timeout(ANSWER, asking).await.unwrap_or(Err(TalkError::TimedOut))
    }
}

/// Answers other agents.
#[derive(Debug, Default)]
pub struct Talks {
    pub(crate) meeting: Option<Arc<super::direct::Direct>>,
}

impl Talks {
    /// Comes back when this agent is to meet nobody directly.
    pub(crate) async fn until_apart(&self, offers: &Offers) {
        let mut offers = offers.clone();
        // What sends outlives every connection.
        let _ = offers.wait_for(|offer| !offer.config().direct().enabled).await;
    }

    /// Answers one operator until it has nothing more to ask.
    pub(crate) async fn answer(
        &self,
        stream: PrivateStream,
        caller: &Caller,
        (peers, offers): (&Peers, &Offers),
    ) {
        // Directly there is nothing to talk about.
        let PrivateStream::Relayed(stream) = stream else { return };
        let mut talk = Talk::new(stream);
        while let Ok(Ok(message)) = tokio::time::timeout(SILENCE, talk.hear()).await {
            let answer = match message {
                Say::Describe => Say::Services { services: described(caller, peers, offers) },
                Say::Meet { addresses } => match &self.meeting {
                    Some(direct) => direct.meet_as_host(caller, peers.told().roster.observed, &addresses),
                    None => Say::Apart,
                },
                Say::Services { .. } | Say::Apart | Say::Unknown => Say::Unknown,
            };
            if talk.say(&answer).await.is_err() {
                return;
            }
        }
    }
}

/// What a peer may know of the services that it may reach.
fn described(caller: &Caller, peers: &Peers, offers: &Offers) -> Vec<Described> {
    let offer = Arc::clone(&offers.borrow());
    let services = offer.config().private().keys().filter(|service| {
        let purpose = protocol::private::Purpose::Tcp((*service).clone());
        peers.check(caller, &purpose, offers).is_ok()
    });
    let describe = |name: &protocol::id::ServiceName| {
        let target = offer.config().services().get(name).map(|service| service.target());
        Described {
            name: name.clone(),
            port: target.and_then(Target::port),
            http: matches!(target, Some(Target::Http(_) | Target::Https(_))),
        }
    };
    services.map(describe).collect()
}
