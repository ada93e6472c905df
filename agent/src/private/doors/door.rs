//! A door, how it is with one, and why one is not open.

use std::io;
use std::net::SocketAddr;

use protocol::service::ServiceAddress;
use serde::{Deserialize, Serialize};

use crate::config::{Config, Connect, LocalAddress};
use crate::local_ca::LocalCaError;
use crate::private::operator::ReachError;
use crate::private::talk::TalkError;

/// A door that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Door {
    To(Connect),
    /// To all services, by their names.
    Socks5(LocalAddress),
}

impl Door {
    /// `home/dashboard`, or `socks5`.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::To(connect) => connect.service.to_string(),
            Self::Socks5(_) => "socks5".to_owned(),
        }
    }

    pub(super) fn wanted_by(config: &Config) -> Vec<Self> {
        let doors = config.connects().iter().cloned().map(Self::To);
        doors.chain(config.socks5().map(Self::Socks5)).collect()
    }
}

/// How it is with a door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum DoorState {
    /// Not yet: for the peer to be there.
    Waiting { reason: String },
    Open {
        address: SocketAddr,
        /// What to open in a browser, where there is something.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        url: Option<String>,
    },
    Failed {
        error: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
}

/// Why a door is not open.
#[derive(Debug, thiserror::Error)]
pub(super) enum DoorError {
    #[error(transparent)]
    Reach(#[from] ReachError),
    #[error("cannot ask `{peer}` which port the service has")]
    Ask { peer: String, source: TalkError },
    #[error("the service `{0}` has no port of its own")]
    NoPort(ServiceAddress),
    #[error("`{}` does not allow this device to reach `{}`", .0.peer, .0.service)]
    NotAllowed(ServiceAddress),
    #[error("cannot listen on `{address}`")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("`--https` is for connections, and `{0}` takes datagrams")]
    NoTls(ServiceAddress),
    #[error("cannot serve `https`")]
    LocalCa(#[from] LocalCaError),
}

impl DoorError {
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::Reach(error) => error.hint(),
            Self::NotAllowed(_) => Some("its own `[[private]]` has to name this device".to_owned()),
            Self::NoPort(_) => Some("say where to listen: `--listen 8080` (`listen` in the file)".to_owned()),
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => Some(
                "another program listens there; choose another with `--listen` (`listen` in the file)"
                    .to_owned(),
            ),
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => Some(
                "ports below 1024 are for root; choose another with `--listen` (`listen` in the file)"
                    .to_owned(),
            ),
            Self::Listen { .. } => None,
            Self::LocalCa(error) => error.hint(),
            Self::Ask { .. } | Self::NoTls(_) => None,
        }
    }

    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::Reach(error) => error.is_temporary(),
            Self::Ask { .. } => true,
            Self::NoPort(_)
            | Self::NotAllowed(_)
            | Self::Listen { .. }
            | Self::NoTls(_)
            | Self::LocalCa(_) => false,
        }
    }
}
