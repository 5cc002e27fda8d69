"""
Clients come and go for minutes: nothing may be lost, and nothing may leak.

usage: python benchmarks/soak.py [--seconds S] [--connections N] [--plot FILE.png]

Each of N places has one connection after the other, some short, some long, some slow, some
with a half-close, some reset; each byte that comes back is checked. Memory and descriptors
of the server are read every second, printed, and plotted. The exit status is 1 when a byte
was wrong, a connection was lost, or the second half of a run of a minute or more needed more
memory than the first and a tenth.
"""

import argparse
import asyncio
import os
import random
import socket
import struct
import sys
import time
from pathlib import Path

from processes import Server, memory, settle
from servers import echoactor


class Soak:
    """What has happened so far."""

    def __init__(self, port: int, end: float) -> None:
        self.port = port
        self.end = end
        self.connections = 0
        self.bytes = 0
        self.errors: list[str] = []

    async def place(self, number: int) -> None:
        """One connection after the other, until the time is over."""
        randoms = random.Random(number)
        while time.monotonic() < self.end:
            try:
                await asyncio.wait_for(self.connection(randoms), 60)
            except (OSError, EOFError, asyncio.TimeoutError) as error:
                self.errors.append(f"place {number}: {error!r}")
            self.connections += 1

    async def connection(self, randoms: random.Random) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for _ in range(randoms.choice((1, 2, 10, 100))):
                data = randoms.randbytes(randoms.choice((1, 64, 1000, 65_536, 300_000)))
                await asyncio.gather(self.send(writer, data), self.receive(reader, data))
                if randoms.random() < 0.1:
                    await asyncio.sleep(randoms.random())
                if time.monotonic() > self.end:
                    break
            ending = randoms.random()
            if ending < 0.2:
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            elif ending < 0.6:
                writer.write(b"last words")
                writer.write_eof()
                if await reader.read(-1) != b"last words":
                    self.errors.append("half-close: the last words are lost")
        finally:
            writer.close()

    async def send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(data)
        await writer.drain()

    async def receive(self, reader: asyncio.StreamReader, data: bytes) -> None:
        if await reader.readexactly(len(data)) != data:
            self.errors.append("other bytes came back")
        self.bytes += len(data)


def measure(pid: int) -> tuple[float, int]:
    """Resident memory in MiB, and descriptors."""
    return memory(pid) / 2**20, len(os.listdir(f"/proc/{pid}/fd"))


async def watch(soak: Soak, pid: int, start: float, rows: list[tuple[float, float, int]]) -> None:
    """Take a row of figures every second, and print one in ten."""
    while time.monotonic() < soak.end:
        rows.append((time.monotonic() - start, *measure(pid)))
        seconds, memory, descriptors = rows[-1]
        if len(rows) % 10 == 1:
            figures = f"{memory:7.1f} MiB {descriptors:5} descriptors {soak.connections:8} connections"
            print(f"{seconds:6.0f} s {figures}")
        await asyncio.sleep(1)


def plot(rows: list[tuple[float, float, int]], file: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, upper = pyplot.subplots(figsize=(8, 4))
    seconds = [row[0] for row in rows]
    upper.plot(seconds, [row[1] for row in rows], color="tab:blue")
    upper.set(xlabel="seconds", ylabel="resident memory (MiB), blue", ylim=(0, None))
    lower = upper.twinx()
    lower.plot(seconds, [row[2] for row in rows], color="tab:orange")
    lower.set(ylabel="descriptors, orange", ylim=(0, None))
    figure.tight_layout()
    figure.savefig(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--plot", help="a PNG file")
    options = parser.parse_args()
    rows: list[tuple[float, float, int]] = []
    with Server(echoactor(Path()), core=None) as server:
        server.wait_until_listening()
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"x")
            client.recv(1)  # its port is open before it runs, and has all its descriptors
        settle(server.pid)
        idle = measure(server.pid)
        start = time.monotonic()
        soak = Soak(server.port, start + options.seconds)

        async def run() -> None:
            places = [soak.place(number) for number in range(options.connections)]
            await asyncio.gather(watch(soak, server.pid, start, rows), *places)

        asyncio.run(run())
        end = time.monotonic() + 20
        while (after := measure(server.pid))[1] > idle[1] and time.monotonic() < end:
            time.sleep(0.05)  # the last resets are on their way
        server.process.terminate()
        status = server.process.wait(20)
    if options.plot:
        plot(rows, options.plot)
    half = len(rows) // 2
    first, second = (max(row[1] for row in part) for part in (rows[:half] or rows, rows[half:]))
    print(
        f"{soak.connections} connections, {soak.bytes / 2**30:.1f} GiB came back, {len(soak.errors)} errors"
    )
    print(f"memory: {idle[0]:.1f} MiB idle; at most {first:.1f}, in the second half {second:.1f}")
    print(f"descriptors: {idle[1]} before, {after[1]} after; exit status {status}")
    for error in soak.errors[:10]:
        print(error)
    has_grown = options.seconds >= 60 and second > first * 1.1  # a short run is still warming up
    if soak.errors or after[1] > idle[1] or status != 0 or has_grown:
        sys.exit(1)


if __name__ == "__main__":
    main()
