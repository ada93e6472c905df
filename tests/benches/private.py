#!/usr/bin/env python3
"""Private access beside `ssh -L` through the same relay host, all on this machine's loopback, and what many short
connections leave behind.

    python3 tests/benches/private.py [--binaries FOLDER] [--rounds N] [--megabytes N] [--churn SECONDS]

FOLDER has the `agent` and `relay` to measure (default: target/release). Needs Python 3.8, OpenSSH's client and server, and
root for the latter. Prints a line for each sample and the medians; exits with 1 where something breaks.

The stacks, whose origin is the same:
  ssh -L, -R     home keeps `ssh -R` to the relay host, the laptop `ssh -L`: the relay host reads everything
  ssh -L -J      the same, with the laptop's ssh ending at home's sshd: the relay host reads nothing
  adit relayed   `agent run` with `[[connect]]`, direct paths off: end to end encrypted through the relay
  adit direct    the same with a direct path

Each sample: one transfer each way (MB/s, and CPU seconds a GB of all processes between the two ends), and the median time
from connecting to the first byte of an answer over 200 connections one after the other.
"""

import argparse
import os
import pathlib
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

BLOCK = bytes(1 << 20)
SSH = ("ssh", "sshd")
ADIT = ("agent", "relay")


class Ground:
    """A folder, and processes that end with it."""

    def __init__(self, binaries):
        self.binaries = binaries
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="adit-private-"))
        self.running = []

    def start(self, name, *command):
        log = open(self.folder / f"{name}.log", "w")
        environment = dict(os.environ, ADIT_LOG="info")
        process = subprocess.Popen(
            [str(part) for part in command], stdout=log, stderr=log, env=environment, start_new_session=True
        )
        self.running.append(process)
        return process

    def ask(self, program, *arguments):
        command = [str(self.binaries / program), *map(str, arguments)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return path

    def close(self):
        for process in self.running:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        shutil.rmtree(self.folder, ignore_errors=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port):
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return port
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")


# --- The origin: `get N` is answered with N bytes, `put N` and N bytes with one. ---


def serve_one(connection):
    with connection:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            line = b""
            while not line.endswith(b"\n"):
                byte = connection.recv(1)
                if not byte:
                    return
                line += byte
            kind, count = line.split()
            left = int(count)
            while left > 0:
                if kind == b"get":
                    left -= connection.send(BLOCK[: min(left, len(BLOCK))])
                else:
                    piece = connection.recv(len(BLOCK))
                    if not piece:
                        return
                    left -= len(piece)
            if kind == b"put":
                connection.sendall(b"k")
        except OSError:
            pass


def origin():
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    child = os.fork()
    if child == 0:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve_one, args=(connection,), daemon=True).start()
    port = listener.getsockname()[1]
    listener.close()
    return child, port


# --- The stacks. ---


def start_ssh(ground, target):
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", ground.folder / key], check=True)
    os.makedirs("/run/sshd", exist_ok=True)
    ports = {name: free_port() for name in ("relay", "home", "home-at-relay", "plain-at-relay", "plain", "sealed")}
    for name in ("relay", "home"):
        config = ground.write(
            f"sshd-{name}",
            f"Port {ports[name]}\nListenAddress 127.0.0.1\nHostKey {ground.folder}/host\nStrictModes no\nPidFile none\n"
            f"AuthorizedKeysFile {ground.folder}/user.pub\nUsePAM no\nMaxSessions 1000\nMaxStartups 1000\n",
        )
        ground.start(f"sshd-{name}", "/usr/sbin/sshd", "-D", "-e", "-f", config)
        wait_for(ports[name])
    config = ground.write(
        "ssh-config",
        f"Host relay\n Port {ports['relay']}\nHost home\n Port {ports['home-at-relay']}\n ProxyJump relay\n"
        f"Host *\n HostName 127.0.0.1\n IdentityFile {ground.folder}/user\n StrictHostKeyChecking no\n BatchMode yes\n"
        " UserKnownHostsFile /dev/null\n ExitOnForwardFailure yes\n",
    )

    def forward(name, host, *forwards):
        ground.start(name, "ssh", "-N", "-F", config, *forwards, host)

    local = "127.0.0.1"
    forward(
        "ssh-R",
        "relay",
        f"-R{local}:{ports['home-at-relay']}:{local}:{ports['home']}",
        f"-R{local}:{ports['plain-at-relay']}:{local}:{target}",
    )
    wait_for(ports["home-at-relay"])
    forward("ssh-L", "relay", f"-L{local}:{ports['plain']}:{local}:{ports['plain-at-relay']}")
    forward("ssh-J", "home", f"-L{local}:{ports['sealed']}:{local}:{target}")
    return wait_for(ports["plain"]), wait_for(ports["sealed"])


def start_adit(ground, target):
    https, relayed, direct = free_port(), free_port(), free_port()
    folder = ground.folder
    config = ground.write(
        "relay.toml",
        f'name = "relay.example.com"\ndata_dir = "{folder}/data"\nadmin_socket = "{folder}/data/relay.sock"\n'
        f'[edge]\nhttp = "off"\nhttps = "127.0.0.1:{https}"\n',
    )
    ground.start("relay", ground.binaries / "relay", "serve", "--config", config)
    wait_for(https)
    door = '[[connect]]\nservice = "home/it"\nlisten = "127.0.0.1:{}"\n'
    devices = {
        "home": f'[service.it]\norigin = "tcp://127.0.0.1:{target}"\n'
        '[[private]]\nservice = "it"\nallow = ["role:operator"]\n',
        "laptop": "[direct]\nenabled = false\n" + door.format(relayed),
        "near": "[direct]\nport_mapping = false\n" + door.format(direct),
    }
    for name, text in devices.items():
        rights = [] if name == "home" else ["--operator", "--service", "home/it"]
        token = ground.ask("relay", "token", "create", "--config", config, "--name", name, *rights)
        token = ground.write(f"{name}.token", token)
        data = folder / name
        ground.ask("agent", "enroll", "--data-dir", data, "--relay", f"127.0.0.1:{https}", "--token-file", token)
        file = ground.write(f"{name}.toml", text)
        ground.start(name, ground.binaries / "agent", "run", "--data-dir", data, "--config", file)
    wait_for(relayed), wait_for(direct)
    for _ in range(100):
        first_bytes(direct, 1)
        status = subprocess.run(
            [ground.binaries / "agent", "status", "--data-dir", folder / "near"], capture_output=True, text=True
        ).stdout
        if ": direct," in status:
            return relayed, direct
        time.sleep(0.2)
    raise SystemExit(f"no direct path: {status}")


# --- Measuring. ---


def cpu_seconds(names):
    ticks = 0
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "comm").read_text().strip() in names:
                    fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                    ticks += int(fields[11]) + int(fields[12])
            except OSError:
                pass
    return ticks / os.sysconf("SC_CLK_TCK")


def download(port, count):
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"get %d\n" % count)
        while count > 0:
            piece = connection.recv(len(BLOCK))
            if not piece:
                raise SystemExit("a download was cut")
            count -= len(piece)


def upload(port, count):
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"put %d\n" % count)
        while count > 0:
            count -= connection.send(BLOCK[: min(count, len(BLOCK))])
        if connection.recv(1) != b"k":
            raise SystemExit("an upload was cut")


def first_bytes(port, count):
    took = []
    for _ in range(count):
        begun = time.perf_counter()
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(b"get 1\n")
            if connection.recv(1) != BLOCK[:1]:
                raise SystemExit("no first byte")
            took.append(time.perf_counter() - begun)
    return statistics.median(took) * 1000


def sample(port, names, count):
    row = []
    for transfer in (download, upload):
        before, begun = cpu_seconds(names), time.perf_counter()
        transfer(port, count)
        row += [count / (time.perf_counter() - begun) / 1e6, (cpu_seconds(names) - before) * 1e9 / count]
    return row + [first_bytes(port, 200)]


def show(name, row):
    down, down_cpu, up, up_cpu, first = row
    print(
        f"{name:14} down {down:6.1f} MB/s {down_cpu:6.2f} s/GB   up {up:6.1f} MB/s {up_cpu:6.2f} s/GB"
        f"   first byte {first:5.2f} ms",
        flush=True,
    )


def compare(ground, target, rounds, count):
    (plain, sealed), (relayed, direct) = start_ssh(ground, target), start_adit(ground, target)
    stacks = [
        ("ssh -L, -R", plain, SSH),
        ("ssh -L -J", sealed, SSH),
        ("adit relayed", relayed, ADIT),
        ("adit direct", direct, ADIT),
    ]
    rows = {name: [] for name, _, _ in stacks}
    for _ in range(rounds):
        for name, port, names in stacks:
            row = sample(port, names, count)
            rows[name].append(row)
            show(name, row)
    print("medians")
    for name, samples in rows.items():
        show(name, [statistics.median(column) for column in zip(*samples)])


def holdings(ground):
    """Descriptors, threads and resident KiB of each process of ours."""
    names = ["relay", "home", "laptop", "near"]
    held = {}
    for name, process in zip(names, ground.running[-4:]):
        proc = pathlib.Path("/proc") / str(process.pid)
        status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
        held[name] = (
            len(list((proc / "fd").iterdir())),
            int(status["Threads"]),
            int(status["VmRSS"].split()[0]),
        )
    return held


def churn(ground, target, seconds):
    for port, way in zip(start_adit(ground, target), ("relayed", "direct")):
        first_bytes(port, 500)
        before, begun, count = holdings(ground), time.perf_counter(), 0
        while time.perf_counter() - begun < seconds:
            first_bytes(port, 1)
            count += 1
            time.sleep(max(0, begun + count / 200 - time.perf_counter()))
        time.sleep(2)
        took, after = time.perf_counter() - begun - 2, holdings(ground)
        print(f"{way}: {count} connections in {took:.1f} s ({count / took:.0f} a second)")
        for name in before:
            print(f"  {name:7} descriptors, threads, resident KiB: {before[name]} -> {after[name]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    workspace = pathlib.Path(__file__).resolve().parents[2]
    parser.add_argument("--binaries", type=pathlib.Path, default=workspace / "target/release")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--churn", type=int, metavar="SECONDS", help="200 connections a second, and nothing else")
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    child, target = origin()
    ground = Ground(arguments.binaries)
    try:
        if arguments.churn:
            churn(ground, target, arguments.churn)
        else:
            compare(ground, target, arguments.rounds, arguments.megabytes * 1_000_000)
    finally:
        ground.close()
        os.kill(child, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
