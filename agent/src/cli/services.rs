//! `agent services`.

use std::process::ExitCode;

use process::local::{self, CallError};
use tokio_util::sync::CancellationToken;

use super::run::session_of;
use super::{Failure, Places, print, print_json};
use crate::config;
use crate::private::survey::{Path, ServiceRow, survey};
use crate::status::{Answer, DEADLINE, Request};

/// Asks the running agent, or the relay itself where none runs.
pub(super) async fn run(json: bool, places: &Places) -> Result<ExitCode, Failure> {
    let socket = places.data_dir().socket();
    let rows = match local::call_within(&socket, &Request::Services, DEADLINE).await {
        Ok(Answer::Services { services }) => services,
        Ok(Answer::Failed { error, hint }) => return Err(Failure::new(super::Told(error), hint)),
        Ok(Answer::Status(_)) => return Err(Failure::new(super::Mismatch, None)),
        Err(CallError::NotRunning { .. }) => ask(places).await?,
        Err(error) => return Err(error.into()),
    };
    if json {
        print_json(&rows)?;
    } else if rows.is_empty() {
        process::terminal::stderr_line(
            "this device may reach no private services; on the relay: relay peer grant NAME --service PEER/SERVICE",
        );
    } else {
        print(table(&rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn ask(places: &Places) -> Result<Vec<ServiceRow>, Failure> {
    let agent = session_of("services", config::of_doors(Vec::new(), None), places)?;
    let stop = CancellationToken::new();
    let mut surveyed = std::pin::pin!(survey(agent.operator()));
    let mut up = std::pin::pin!(agent.keep_up(&stop));
    let rows = loop {
        tokio::select! {
            rows = &mut surveyed => break rows?,
            () = &mut up => {}
        }
    };
    stop.cancel();
    up.await;
    Ok(rows)
}

fn table(rows: &[ServiceRow]) -> String {
    let mut table = comfy_table::Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_header(["SERVICE", "", "PEER", "PATH", "RTT", "REMARK"]);
    for row in rows {
        let path = row.path.map_or("-", |path| match path {
            Path::Relayed => "relayed",
            Path::Direct => "direct",
        });
        let carries = match row.carries {
            protocol::control::Carries::Tcp => "tcp",
            protocol::control::Carries::Udp => "udp",
        };
        let rtt = row.rtt_ms.map_or_else(|| "-".to_owned(), |rtt| format!("{rtt:.1} ms"));
        let online = if row.online { "online" } else { "offline" };
        let remark = row.error.as_deref().or(row.not_direct.as_deref()).unwrap_or_default();
        table.add_row([&row.service, carries, online, path, &rtt, remark]);
    }
    table.to_string().lines().map(str::trim).collect::<Vec<_>>().join("\n")
}
