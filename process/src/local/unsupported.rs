//! Where there are no unix sockets. A named pipe of Windows would take the place of this module.

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::{BindError, CallError};

/// Never made here.
#[derive(Debug)]
pub struct Listener(Infallible);

impl Listener {
    pub fn bind(_path: &Path) -> Result<Self, BindError> {
        Err(BindError::Unsupported)
    }

    #[expect(clippy::unused_async, reason = "the same signature as where it is supported")]
    pub async fn serve<Req, Res, F, Fut>(self, _cancel: CancellationToken, _handler: F)
    where
        Req: DeserializeOwned + Send + 'static,
        Res: Serialize + Send + 'static,
        F: Fn(Req) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Res> + Send + 'static,
    {
        match self.0 {}
    }
}

pub async fn call<Req: Serialize, Res: DeserializeOwned>(
    _path: &Path,
    _request: &Req,
) -> Result<Res, CallError> {
    Err(CallError::Unsupported)
}

pub async fn call_within<Req: Serialize, Res: DeserializeOwned>(
    _path: &Path,
    _request: &Req,
    _deadline: Duration,
) -> Result<Res, CallError> {
    Err(CallError::Unsupported)
}
