"""The command as a process: what only it may do, and no library."""

from __future__ import annotations

import atexit
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred, succeed
from twisted.logger import Logger

from .errors import CertificateError, ListenError
from .notify import Notifier
from .server import Server
from .system import ActorSystem
from .workers import Workers

__all__ = ["ALIASES", "Command", "dashed", "in_words_of_the_command"]

_log = Logger()

ALIASES = {"endpoints": "endpoint"}
"""A command takes such an option once for each value."""


def dashed(name: str) -> str:
    """An option as the command has it."""
    return "--" + ALIASES.get(name, name).replace("_", "-")


def in_words_of_the_command(text: str) -> str:
    """A text about :class:`ServerOptions`, with the command's names."""
    text = re.sub(r"^\w+(?=: )", lambda name: dashed(name[0]), text)
    return re.sub(r"`(\w+)`", lambda name: dashed(name[1]), text)


class Command(MultiService):
    """
    What only a command may do: end the process with one line when it cannot start, and handle signals.

    :param reloads: what reads files again on SIGHUP, and what puts its errors into the command's words.
    """

    def __init__(
        self,
        system: ActorSystem,
        server: Server | Workers,
        reloads: Sequence[tuple[Callable[[], object], Callable[[str], str]]],
    ) -> None:
        super().__init__()
        self._system = system
        self._reloads = reloads
        self._server = server
        self._notifier = Notifier()
        self._is_stopping = False
        self._system.setServiceParent(self)

    def privilegedStartService(self) -> None:
        with _told_in_one_line():
            super().privilegedStartService()

    def startService(self) -> None:
        with _told_in_one_line():
            super().startService()
        reactor: Any = self._system.reactor
        # After the reactor has installed its own, which end the process with the signal's status.
        reactor.callWhenRunning(self._handle_signals)

    def _handle_signals(self) -> None:
        reactor: Any = self._system.reactor

        def stop() -> None:
            if self._is_stopping:
                self._system.abort()
            else:
                self._stop()

        def reload() -> None:
            ensureDeferred(self._reload())

        for number, action in ((signal.SIGINT, stop), (signal.SIGTERM, stop), (signal.SIGHUP, reload)):
            signal.signal(number, lambda *_, action=action: reactor.callFromThread(action))
        ready: Deferred[None] = succeed(None)
        if isinstance(self._server, Workers):
            ready = self._server.ready
            self._server.given_up.addCallback(self._fail)
        ready.addCallback(lambda _: self._notifier.ready())

    def _fail(self, why: str) -> None:
        """End the process with status 1, while the reactor runs: the reactor knows of 0 and signals alone."""
        _log.critical("{line}", line=f"echoactor: {in_words_of_the_command(why)}")
        atexit.register(os._exit, 1)
        if not self._is_stopping:
            self._stop()

    def _stop(self) -> None:
        self._is_stopping = True
        self._notifier.stopping()
        reactor: Any = self._system.reactor
        reactor.stop()

    async def _reload(self) -> None:
        """Read the files again: certificates, the token; whatever is wrong with one, the service goes on."""
        if not self._is_stopping:
            self._notifier.reloading()
        is_done = True
        for reload, in_its_words in self._reloads:
            # One by one: a token that was stolen must go, whatever is wrong with a certificate.
            try:
                await maybeDeferred(reload)
            except (CertificateError, ValueError) as error:
                is_done = False
                _log.error("not reloaded: {error}", error=in_its_words(str(error)))
            except Exception:  # the others are to be read, and systemd waits for the end
                is_done = False
                _log.failure("not reloaded")
        if is_done:
            _log.info("reloaded")
        if not self._is_stopping:
            self._notifier.ready()


@contextmanager
def _told_in_one_line() -> Iterator[None]:
    """
    Let a ListenError end the process with its text alone.

    It stays an ordinary exception on its way out, and is not SystemExit: for
    an exception, twistd removes its pidfile and tells the process that waits
    while it daemonizes.
    """
    try:
        yield
    except ListenError:
        traceback_hook = sys.excepthook

        def hook(kind: Any, error: BaseException, traceback: Any) -> None:
            if isinstance(error, ListenError):
                print(f"echoactor: {in_words_of_the_command(str(error))}", file=sys.stderr)
            else:
                traceback_hook(kind, error, traceback)

        sys.excepthook = hook
        raise
