//! nginx in front of `ssh -R`, with an sshd of its own: own keys, own port, no passwords, gone afterwards.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::daemon::Daemon;
use crate::ground::Ground;
use crate::place::{Side, find_program, free_port};
use crate::stacks::nginx;

pub(crate) fn start(ground: &Ground, https: u16) -> anyhow::Result<Vec<Daemon>> {
    for key in ["host-key", "user-key"] {
        let file = ground.folder.join(key);
        let mut command = Command::new("ssh-keygen");
        let output = command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(file).output()?;
        ensure!(output.status.success(), "ssh-keygen: {}", String::from_utf8_lossy(&output.stderr));
    }
    let door = ground.place.relay_address()?;
    let visible: SocketAddr = ([127, 0, 0, 1], free_port()?).into();
    let sshd = start_sshd(ground, door)?;
    let ssh = start_ssh(ground, door, visible)?;
    Ok(vec![sshd, ssh, nginx::front(ground, https, visible)?])
}

fn start_sshd(ground: &Ground, door: SocketAddr) -> anyhow::Result<Daemon> {
    let folder = ground.folder.display();
    let config = format!(
        "ListenAddress {door}\nHostKey {folder}/host-key\nAuthorizedKeysFile {folder}/user-key.pub\nPidFile none\n\
         UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n\
         StrictModes no\nLogLevel INFO\n"
    );
    let file = ground.write("sshd_config", &config)?;
    // Where sshd locks its unprivileged half in; an init script would have made it.
    let _without_root_it_is_not_needed = fs::create_dir_all("/run/sshd");
    // sshd starts itself again for each connection and wants its full path for that.
    let program = find_program("sshd").context("no sshd")?;
    let mut command = ground.place.command(Side::Relay, program);
    command.args(["-D", "-e", "-f"]).arg(file);
    let mut daemon = Daemon::start("sshd", command, ground.log("sshd"))?;
    match &ground.place.namespaces {
        None => daemon.wait_until(|| TcpStream::connect(door).is_ok())?,
        Some(_) => std::thread::sleep(Duration::from_secs(1)),
    }
    Ok(daemon)
}

fn start_ssh(ground: &Ground, door: SocketAddr, visible: SocketAddr) -> anyhow::Result<Daemon> {
    let user = Command::new("id").arg("-un").output().context("running `id`")?;
    let user = String::from_utf8(user.stdout)?;
    let mut command = ground.place.command(Side::Home, "ssh");
    command.args(["-N", "-F", "none", "-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes"]);
    command.args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-i"]);
    command.arg(ground.folder.join("user-key"));
    command.arg("-R").arg(format!("{visible}:{}", ground.origin));
    command.arg("-p").arg(door.port().to_string()).arg(format!("{}@{}", user.trim(), door.ip()));
    Daemon::start("ssh", command, ground.log("ssh"))
}
