//! Connections directly to other agents.

use std::net::SocketAddr;

use protocol::stream::PrivateHeader;
use protocol::talk::Say;

use super::flow::{Carrier, Flow};
use super::operator::Known;
use super::peers::Caller;
use crate::splice::Ends;

#[derive(Debug)]
pub struct Direct {}

impl Direct {
    pub(crate) async fn open(&self, _known: &Known, _header: &PrivateHeader) -> Option<Ends> {
        None
    }

    pub(crate) async fn flow(&self, _known: &Known, _header: &PrivateHeader) -> Option<Flow> {
        None
    }

    pub(crate) fn rtt(&self, _known: &Known) -> Option<std::time::Duration> {
        None
    }

    pub(crate) fn why_not(&self, _known: &Known) -> Option<String> {
        None
    }

    pub(crate) fn meet_as_host(
        &self,
        _caller: &Caller,
        _carrier: &Carrier,
        _addresses: &[SocketAddr],
    ) -> Say {
        Say::Apart
    }
}
