"""Opens the connections of a load, a bounded number at once."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any

from .connection import Connection
from .figures import Figures
from .options import LoadOptions

__all__ = ["LoadError", "NotConnected", "Opener", "make_room_for"]

OPENING = 64
"""
Connections opened at once: thousands would overflow any server's queue, and a retry takes a second.
A slow server's overflows all the same, as the kernel completes connections that it has not accepted yet.
"""

OTHERS = 32
"""Open files that are not connections: the loop's own, the terminal, reports, modules."""


PROBLEMS = (OSError, ValueError, asyncio.TimeoutError)
"""What opening a connection may raise: ValueError for names; in Python 3.10, the last is no OSError."""


class LoadError(Exception):
    """The load cannot be put on; the text is one line that says why."""


class NotConnected(LoadError):
    """There is no connection to put it on."""


class Opener:
    """
    Opens the connections of a load.

    :param options: how many, and where to.
    :param figures: where connections count, and where those that cannot be made are counted.
    :param on_lost: called with a connection that has ended by itself.
    :param on_open: each is called with the number of connections that are open, when one more is.
    :ivar connections: those that were made.
    :raises LoadError: there can not be as many, or the authorities' file or the server's name cannot be used.
    """

    def __init__(
        self,
        options: LoadOptions,
        figures: Figures,
        on_lost: Callable[[Connection], None],
        on_open: Sequence[Callable[[int], None]],
    ) -> None:
        make_room_for(options.connections)
        self.connections: list[Connection] = []
        self._options = options
        self._figures = figures
        self._on_lost = on_lost
        self._on_open = on_open
        self._loop = asyncio.get_running_loop()
        self._context: ssl.SSLContext | None = None
        self._server_name: str | None = None
        if options.tls:
            self._context = _tls_context(options)
            self._server_name = options.server_name or options.host
            _check_name(self._context, self._server_name)

    async def open(self) -> None:
        """
        Open them. What fails after the first is an error among the figures.

        :raises NotConnected: the first could not be made.
        """
        numbers = iter(range(self._options.connections))
        address = await self._open_first(next(numbers))

        async def open_some() -> None:
            for number in numbers:
                try:
                    await self._connect(number, *address)
                except PROBLEMS as error:
                    self._figures.fail("not connected", f"connection {number}: {_reason(error)}")

        await asyncio.gather(*[open_some() for _ in range(OPENING)])

    async def _open_first(self, number: int) -> tuple[socket.AddressFamily, Any]:
        """Find out which of the host's addresses answers, as localhost may be an IPv6 one or not."""
        host, port = self._options.host, self._options.port
        problems = []
        try:
            found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            for family, _, _, _, address in found:
                try:
                    await self._connect(number, family, address)
                    return family, address
                except PROBLEMS as error:
                    problems.append(_reason(error))
        except PROBLEMS as error:
            problems.append(_reason(error))
        raise NotConnected(f"cannot connect to {self._options.target}: {'; '.join(dict.fromkeys(problems))}")

    async def _connect(self, number: int, family: socket.AddressFamily, address: Any) -> None:
        options = self._options
        connection = Connection(number, options, self._figures, self._on_lost)
        connecting = self._loop.create_connection(
            lambda: connection,
            *address[:2],
            family=family,
            ssl=self._context,
            server_hostname=self._server_name,
        )
        try:
            await asyncio.wait_for(connecting, options.timeout)
        except BaseException:
            connection.abort()  # it may have been made already when the time was over
            raise
        self.connections.append(connection)
        for watcher in self._on_open:
            watcher(len(self.connections))


def make_room_for(connections: int) -> None:
    """
    Raise this process's soft limit on open files as far as so many connections need.

    :raises LoadError: the hard limit does not allow it.
    """
    needed = connections + OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _suffices(soft, needed):
        return
    if not _suffices(hard, needed):
        raise LoadError(
            f"{connections} connections need {needed} open files, and only {hard} are allowed: "
            f"raise the limit (ulimit -Hn), or lower --connections to {max(1, hard - OTHERS)}"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _suffices(limit: int, needed: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= needed


def _tls_context(options: LoadOptions) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=options.ca)
    except OSError as error:
        raise LoadError(f"--ca: {options.ca} cannot be used: {_reason(error)}") from None
    if options.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _check_name(context: ssl.SSLContext, name: str) -> None:
    """Refuse early what no certificate could have: later, asyncio would leave its socket open."""
    try:
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=name)
    except ValueError:
        raise LoadError(f"--server-name: {name!r} is not the name of a host") from None


def _reason(error: Exception) -> str:
    """What is wrong, in the system's words where it has some."""
    match error:
        case ssl.SSLCertVerificationError():
            return error.verify_message
        case ssl.SSLError() | socket.gaierror():  # their numbers are none of the system's
            return error.strerror or str(error)
        case OSError() if error.errno:
            return os.strerror(error.errno)
        case TimeoutError() | asyncio.TimeoutError():
            return "no connection in time"
    return str(error) or type(error).__name__
