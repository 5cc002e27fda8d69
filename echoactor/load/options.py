"""The options of the load client: what each means, its default, and why that."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import NoReturn

__all__ = ["LoadOptions", "parse"]

MOST_UNANSWERED = 256 * 1024 * 1024
"""Bytes of a connection that may be under way, as all of them may lie in its write buffer."""

PLOTS = (".png", ".svg", ".pdf")


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """
    What load is put on which server.

    :param host: name or address of the server.
    :param port: its TCP port.
    :param connections: how many are open at once.
    :param size: bytes of a message.
    :param pipeline: messages of a connection that may be unanswered at once.
    :param duration: seconds for which messages are sent.
    :param rate: messages a second, over all connections; None sends the next as soon as one is answered.
    :param timeout: seconds for opening a connection, and for the answers outstanding at the end.
    :param tls: whether connections are encrypted.
    :param insecure: whether any certificate will do.
    :param ca: PEM file with the authorities to trust; None for those of the system.
    :param server_name: the name to ask for and to find in the certificate; None for ``host``.
    :param json: whether the report is one JSON object.
    :param csv: file for the figures of each second.
    :param plot: file for a picture of them.
    :raises ValueError: a value is wrong; the text names the option and says what would be right.
    """

    host: str
    port: int
    connections: int = 50
    size: int = 64
    pipeline: int = 1
    duration: float = 10.0
    rate: float | None = None
    timeout: float = 5.0
    tls: bool = False
    insecure: bool = False
    ca: str | None = None
    server_name: str | None = None
    json: bool = False
    csv: str | None = None
    plot: str | None = None

    def __post_init__(self) -> None:
        for name in ("connections", "size", "pipeline"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} is not a whole number from 1 on")
        for name in ("duration", "rate", "timeout"):
            value = getattr(self, name)
            if value is not None and not 1e-9 <= value <= 1e15:  # what clocks and floats can do with them
                raise ValueError(f"{name}: {value:g} is not a number from 1e-9 to 1e15")
        if self.size * self.pipeline > MOST_UNANSWERED:
            raise ValueError(
                f"size: {self.size} bytes, {self.pipeline} at once, are more than "
                f"the {MOST_UNANSWERED} that a connection may have under way"
            )
        for name in ("insecure", "ca", "server_name"):
            if getattr(self, name) and not self.tls:
                raise ValueError(f"{name}: is of no use without `tls`")
        if self.insecure and self.ca:
            raise ValueError("insecure: trusts any certificate, so `ca` is of no use")
        if self.plot is not None and not self.plot.endswith(PLOTS):
            raise ValueError(f"plot: {self.plot!r} does not end in {', '.join(PLOTS)}")

    @property
    def target(self) -> str:
        """The server, as the command line has it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class _Parser(argparse.ArgumentParser):
    """Tells what is wrong in one line, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        line = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in message)
        self.exit(2, f"{self.prog}: {line}; --help lists the options\n")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _decimal(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1e-9 to 1e15") from None


def _host_and_port(text: str) -> tuple[str, int]:
    match = re.fullmatch(r"(?:\[([^][]+)\]|([^][:]+)):([0-9]{1,5})", text)
    if match is None or not 1 <= int(match[3]) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not like localhost:8080 or [::1]:8080")
    return match[1] or match[2], int(match[3])


def _make_parser() -> _Parser:
    parser = _Parser(
        prog="echoactor-load",
        description="Puts load on an echo server, checks every byte that comes back, and reports throughput "
        "and latency. Ctrl-C ends it early, with the report.",
        epilog="Exit status: 0 when all went well; 1 when a byte was wrong, a message unanswered, or a "
        "connection lost or not made; 2 when it cannot do what it was asked for.",
        allow_abbrev=False,  # or a new option would change what an old command line means
    )
    add = parser.add_argument
    add("target", metavar="HOST:PORT", type=_host_and_port, help="the server; IPv6 as [::1]:8080")
    add("--version", action="version", version=f"echoactor {version('echoactor')}")

    load = parser.add_argument_group("the load")
    add = load.add_argument
    add("-c", "--connections", metavar="N", type=_count, help="connections open at once (default 50)")
    add("-s", "--size", metavar="BYTES", type=_count, help="size of a message (default 64)")
    add(
        *("-p", "--pipeline"),
        metavar="N",
        type=_count,
        help="messages of a connection that may be unanswered at once (default 1)",
    )
    add(
        *("-d", "--duration"),
        metavar="SECONDS",
        type=_decimal,
        help="for which messages are sent (default 10)",
    )
    add(
        *("-r", "--rate"),
        metavar="N",
        type=_decimal,
        help="messages a second, over all connections, on a schedule: latency counts from when a message "
        "was due, however late the server lets it be sent. Default: the next is sent when one is answered, "
        "as fast as the server can, and latency counts from the sending",
    )
    add(
        "--timeout",
        metavar="SECONDS",
        type=_decimal,
        help="for opening a connection, and at the end for the answers outstanding (default 5)",
    )

    tls = parser.add_argument_group("TLS")
    add = tls.add_argument
    add("--tls", action="store_true", default=None, help="encrypt, and verify the server's certificate")
    add("--insecure", action="store_true", default=None, help="take any certificate")
    add("--ca", metavar="FILE", help="PEM file with the authorities to trust (default: the system's)")
    add(
        "--server-name",
        metavar="NAME",
        help="name to ask for, and to find in the certificate (default: HOST)",
    )

    report = parser.add_argument_group("the report")
    add = report.add_argument
    add("--json", action="store_true", default=None, help="write it as one JSON object")
    add("--csv", metavar="FILE", help="also write the figures of each second, as they come")
    add("--plot", metavar="FILE", help=f"also draw them; the file ends in {', '.join(PLOTS)}")
    return parser


def parse(arguments: Sequence[str] | None = None) -> LoadOptions:
    """
    Read the command line.

    :param arguments: its words; None for those of this process.
    :raises SystemExit: with status 2 after one line, if they are wrong; with 0 after ``--help``.
    """
    parser = _make_parser()
    words = vars(parser.parse_args(arguments))
    host, port = words.pop("target")
    given = {name: value for name, value in words.items() if value is not None}
    try:
        return LoadOptions(host=host, port=port, **given)
    except ValueError as error:
        parser.error(_in_words_of_the_command(str(error)))


def _in_words_of_the_command(text: str) -> str:
    """A text about :class:`LoadOptions`, with the command's names."""
    return re.sub(r"^(\w+)(?=: )|`(\w+)`", lambda name: "--" + (name[1] or name[2]).replace("_", "-"), text)
