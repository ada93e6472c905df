//! A door with TLS of this device's own: for browsers, which keep some things to `https`.

use std::sync::Arc;
use std::time::Duration;

use protocol::service::ServiceAddress;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::{broken, prepared};
use crate::private::operator::{Operator, ReachError};

/// From the first byte of TLS to the end of the handshake.
const DEADLINE: Duration = Duration::from_secs(10);

/// Leads one connection to the service and back. The service is left alone until TLS has come about.
pub(super) async fn pass(
    operator: &Operator,
    service: &ServiceAddress,
    config: &Arc<rustls::ServerConfig>,
    tcp: TcpStream,
) -> Result<(), ReachError> {
    let acceptor = TlsAcceptor::from(Arc::clone(config));
    let tls = match tokio::time::timeout(DEADLINE, acceptor.accept(prepared(tcp))).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => {
            tracing::debug!(%service, %error, "no TLS");
            return Ok(());
        }
        Err(_) => return Ok(()),
    };
    let stream = Box::pin(operator.connect(service)).await?;
    let (mut reader, mut writer) = tokio::io::split(tls);
    let carried = stream.carry(&mut reader, &mut writer).await;
    if carried.is_ok() {
        let tls = reader.unsplit(writer);
        // Everything has been said: closing is no longer a reset. Fails only where the connection is gone.
        let _ = SockRef::from(tls.get_ref().0).set_linger(None);
    }
    broken(service, carried)
}
