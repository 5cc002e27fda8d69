"""``echoactor-top``: the observer's page for a terminal."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import ssl
import sys
import termios
import tty
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from threading import Thread
from time import sleep
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from .text import shown

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from .screen import Screen

__all__ = ["main"]

SILENCE = 60.0
"""Seconds without a word after which the server is taken for gone. It says
something each second, or less often when it has a million actors."""

AGAIN = b"event: again\n"
"""The last that a stream says when it is time for another one."""

NO_OBSERVER = "says what no observer of this version does"

PAUSE = 1.0
"""Seconds until the next try, when it is gone."""


class _Trouble(Exception):
    """What went wrong, in one line."""


class _UnixConnection(HTTPConnection):
    """HTTP over a UNIX socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=SILENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _connection(options: Namespace) -> HTTPConnection:
    """
    What leads to the server.

    :raises _Trouble: the URL or a file is wrong.
    """
    url: str = options.url
    if url.startswith("unix:") and len(url) > 5:
        return _UnixConnection(url[5:])
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    host = parts.hostname or ""
    is_one = parts.scheme in ("http", "https") and parts.path in ("", "/")
    if not (is_one and re.fullmatch(r"[\w.:-]+", host)):
        raise _Trouble(f"URL: '{shown(url)}' is none of http://HOST:PORT, https://HOST:PORT, unix:PATH")
    if parts.scheme == "http":
        return HTTPConnection(host, port, timeout=SILENCE)
    context = ssl.create_default_context()
    for option, file, load in (
        ("--ca", options.ca, context.load_verify_locations),
        ("--certificate", options.certificate, context.load_cert_chain),
    ):
        try:
            if file is not None:
                load(file)
        except (OSError, ssl.SSLError) as error:
            raise _Trouble(f"{option}: {file!r}: {error.strerror or error}") from None
    return HTTPSConnection(host, port, timeout=SILENCE, context=context)


def _token(file: str | None) -> dict[str, str]:
    if file is None:
        return {}
    try:
        token = Path(file).read_text("ascii").strip()
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or "is not ASCII"
        raise _Trouble(f"--token-file: {file!r}: {what}") from None
    if not re.fullmatch("[!-~]+", token):  # a private key, perhaps, which must not be shown
        raise _Trouble(f"--token-file: {file!r}: holds no token, which is one word")
    return {"Authorization": f"Bearer {token}"}


def _seen(options: Namespace, rows: int) -> Iterator[dict[str, Any]]:
    """
    What the server's stream says, part by part.

    :raises _Trouble: there is no stream, or it has ended, though not as streams do.
    """
    connection, where = _connection(options), shown(options.url)
    try:
        connection.request("GET", f"/events?rows={rows}", headers=_token(options.token_file))
        response = connection.getresponse()
        if response.status == 401:
            raise _Trouble(f"{where}: wants a token; give it as --token-file")
        if response.status != 200 or response.headers.get_content_type() != "text/event-stream":
            said = response.readline(300).decode("utf-8", "replace").strip()
            raise _Trouble(f"{where}: answers with status {response.status}, no stream: {shown(said)}")
        for line in response:
            if line == AGAIN:
                return
            if line.startswith(b"data:"):
                seen = json.loads(line[5:])
                if not isinstance(seen, dict):
                    raise _Trouble(f"{where}: {NO_OBSERVER}")
                yield seen
        raise _Trouble(f"{where}: has closed the stream")
    except (OSError, HTTPException, ValueError, RecursionError) as error:
        what = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise _Trouble(f"{where}: {shown(what)}") from None
    finally:
        connection.close()


# What needs rich is imported when it is there for sure.


def _drawn(screen: Screen, seen: dict[str, Any], options: Namespace, height: int | None) -> RenderableType:
    """
    Take in a part of the stream, and draw it.

    :raises _Trouble: it is not of this version's observer.
    """
    try:
        screen.see(seen)
        return screen.render(height)
    except (AttributeError, LookupError, TypeError, ValueError):
        raise _Trouble(f"{shown(options.url)}: {NO_OBSERVER}") from None


def _show_once(options: Namespace, console: Console) -> None:
    """Print what there is, as soon as there is something to say of a second."""
    from .screen import Screen

    screen = Screen(console)
    for seen in _seen(options, 20):
        drawn = _drawn(screen, seen, options, None)
        if screen.has_rates:
            console.print(drawn)
            return


def _show(options: Namespace, console: Console) -> None:
    """Show it until the user has seen enough; when the server goes away, wait until it is back."""
    from rich.live import Live

    from .screen import Screen

    for number in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C: the terminal has to be as it was
        signal.signal(number, signal.default_int_handler)
    screen = Screen(console)
    with Live(console=console, screen=True, auto_refresh=False) as live, _keys():
        while True:
            try:
                for seen in _seen(options, max(5, console.height // 2)):
                    live.update(_drawn(screen, seen, options, console.height), refresh=True)
            except _Trouble as trouble:
                if screen.is_new:  # it was never there: more likely a wrong URL than a restart
                    raise
                screen.lose(str(trouble))
                live.update(screen.render(console.height), refresh=True)
            sleep(PAUSE)


@contextmanager
def _keys() -> Iterator[None]:
    """Let the key q do what Ctrl-C does."""
    if sys.stdin is None or not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)

    def read() -> None:
        while (key := os.read(sys.stdin.fileno(), 1)) not in (b"q", b"Q", b""):
            pass
        if key:
            # A real signal, because nothing else ends a read of the socket.
            os.kill(os.getpid(), signal.SIGINT)

    tty.setcbreak(sys.stdin)
    try:
        Thread(target=read, daemon=True).start()
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; --help lists the options\n")


def main(arguments: list[str] | None = None) -> int:
    """
    Run the command.

    :param arguments: those of the command line, by default.
    :returns: its exit status: 0, or 1 when there is nothing to show.
    """
    parser = _Parser(
        prog="echoactor-top",
        description="Shows the actors and connections of a running system, live; q ends it.",
        allow_abbrev=False,
    )
    parser.add_argument("url", metavar="URL", help="http://HOST:PORT, https://HOST:PORT, or unix:PATH")
    parser.add_argument("--once", action="store_true", help="print what there is, and end")
    parser.add_argument("--token-file", metavar="FILE", help="holds the token that the server wants")
    parser.add_argument("--ca", metavar="FILE", help="PEM file: the authority of the server's certificate")
    parser.add_argument("--certificate", metavar="FILE", help="PEM file: a certificate for us, and its key")
    options = parser.parse_args(arguments)
    try:
        from rich.console import Console
    except ImportError as error:
        needs = f"needs the package {error.name} (pip install 'echoactor[admin]')"
        print(f"echoactor-top: {needs}", file=sys.stderr)
        return 1
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal may have no bars
    console = Console()
    try:
        # Not what rich takes for a terminal: some variables make it one of a pipe.
        is_live = not options.once and sys.stdout is not None and sys.stdout.isatty()
        (_show if is_live else _show_once)(options, console)
    except _Trouble as trouble:
        print(f"echoactor-top: {trouble}", file=sys.stderr)
        return 1
    except OSError as error:  # a full disk, a pipe whose reader has seen enough
        sys.stdout = None  # Python would complain once more when it ends
        print(f"echoactor-top: the output cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0
