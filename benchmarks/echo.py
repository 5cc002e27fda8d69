"""
Echo servers side by side: ratios of messages a second and of server CPU time a message.

usage: python benchmarks/echo.py [--rounds N] [--seconds S] [--connections N] [--sizes 64,65536]

The servers run in turn, A B A B …, each on one core with the load generator
on another, and each ratio is the median of the ratios of neighbouring runs: on
a shared machine, absolute figures are noise. The generator is compiled from
load.c where there is a C compiler; else a Python one is used, and the table says so.
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

HERE = Path(__file__).parent
BASELINE = "wire.Echo"
SERVERS = {
    BASELINE: [sys.executable, str(HERE / "wire_echo.py"), "{port}"],
    "echoactor": [
        *(str(Path(sys.executable).with_name("twistd")), "--nodaemon", "--pidfile=", "echoactor"),
        *("--endpoint", "tcp:{port}:interface=127.0.0.1:backlog=1024"),
    ],
}


class Run(NamedTuple):
    """One run of one server."""

    rate: float  # messages a second
    server_cpu: float  # seconds of CPU time a message
    load_share: float  # CPU time of the generator over wall time; near 1 means it is the bottleneck


def build_load(directory: str) -> list[str]:
    """The command of the load generator."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return [sys.executable, str(HERE / "load.py")]
    program = f"{directory}/load"
    subprocess.run([compiler, "-O2", "-o", program, str(HERE / "load.c")], check=True)
    return [program]


def pin(core: int):
    """A function that binds the process to a core, where there are two."""
    cores = sorted(os.sched_getaffinity(0))
    return lambda: os.sched_setaffinity(0, {cores[core % len(cores)]})


def cpu_seconds(pid: int) -> float:
    """CPU time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until_listening(port: int, server: subprocess.Popen) -> None:
    for _ in range(200):
        if server.poll() is not None:
            sys.exit(f"{server.args} ended with status {server.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.05)
    sys.exit(f"{server.args} does not listen")


def run(command: list[str], load: list[str], connections: int, size: int, seconds: float) -> Run:
    port = free_port()
    server = subprocess.Popen(
        [word.format(port=port) for word in command],
        preexec_fn=pin(0),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until_listening(port, server)
        before = cpu_seconds(server.pid)
        result = subprocess.run(
            [*load, "127.0.0.1", str(port), str(connections), str(size), str(seconds)],
            preexec_fn=pin(1),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        used = cpu_seconds(server.pid) - before
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()
    messages, took, load_cpu = (float(word) for word in result.stdout.split())
    return Run(messages / took, used / messages, load_cpu / took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--sizes", default="64,65536")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        load = build_load(directory)
        print(f"{options.connections} connections, {options.rounds} rounds of {options.seconds:g} s")
        print("load generator:", "C" if len(load) == 1 else "Python (slow: rates are a lower bound)")
        print(f"{'size':>8}  {'server':12} {'messages/s':>11} {'cpu us/msg':>11} {'load cpu':>9}", end="")
        print(f"  {'rate ratio':>10} {'cpu ratio':>10}")
        for size in map(int, options.sizes.split(",")):
            runs: dict[str, list[Run]] = {name: [] for name in SERVERS}
            for _ in range(options.rounds):
                for name, command in SERVERS.items():
                    runs[name].append(run(command, load, options.connections, size, options.seconds))
            for name, those in runs.items():
                pairs = list(zip(those, runs[BASELINE], strict=True))
                print(
                    f"{size:8}  {name:12} {median(r.rate for r in those):11,.0f} "
                    f"{median(r.server_cpu for r in those) * 1e6:11.2f} "
                    f"{median(r.load_share for r in those):9.0%}"
                    f"  {median(a.rate / b.rate for a, b in pairs):10.2f} "
                    f"{median(b.server_cpu / a.server_cpu for a, b in pairs):10.2f}"
                )


if __name__ == "__main__":
    main()
