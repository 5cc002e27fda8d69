"""The access log: a line for each connection that is over."""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from twisted.logger import Logger
from twisted.python.reflect import safe_repr

from .events import ConnectionClosed, Events
from .log_output import timestamp
from .text import peer_in_words, printable

__all__ = ["AccessLog", "check_access_log", "standard_output"]

_log = Logger()


class AccessLog:
    """
    Writes a line when a connection is over: when, the client, TLS, bytes in and out, duration, reason.

    :param events: the system's.
    :param file: a path, or ``-`` for the standard output.
    :param log_format: ``"text"`` or ``"json"``.
    :raises ValueError: the file cannot be opened; the text names it.
    """

    def __init__(self, events: Events, file: str, log_format: str = "text") -> None:
        self._name = file
        self._path = None if file == "-" else os.path.abspath(file)  # a daemon goes to another directory
        self._line = _as_json if log_format == "json" else _as_text
        self._file = self._open()
        events.subscribe(ConnectionClosed, self._closed)

    def reopen(self) -> None:
        """
        Open the file anew: it was moved away, by whoever rotates it.

        :raises ValueError: it cannot be opened; then lines go to the old one.
        """
        if self._path is not None:
            old, self._file = self._file, self._open()
            with self._complaining():  # on a full disk it still has lines to write
                old.close()

    def _open(self) -> TextIO:
        if self._path is None:
            return os.fdopen(os.dup(standard_output()), "w", buffering=1)
        try:
            # Each line is one write to its end: several processes may have it open.
            return open(self._path, "a", buffering=1, encoding="utf-8", opener=_open_at_once)
        except OSError as error:
            raise ValueError(f"access_log: {self._name!r}: {error.strerror}") from None

    def _closed(self, event: ConnectionClosed) -> None:
        with self._complaining():
            self._file.write(self._line(time.time(), event))

    @contextmanager
    def _complaining(self) -> Iterator[None]:
        """What cannot be written is lost, and a line of the log says so; the service goes on."""
        try:
            yield
        except OSError as error:
            _log.error("--access-log: {path!r}: {cause}", path=self._path or "-", cause=error.strerror)


def check_access_log(file: str) -> None:
    """
    Tell what is wrong with a file that is opened later, by others, without making it.

    :raises ValueError: it cannot be opened; the text names it.
    """
    if file != "-" and not os.path.isdir(os.path.dirname(os.path.abspath(file))):
        raise ValueError(f"access_log: {file!r}: {os.strerror(errno.ENOENT)}")
    if os.path.isdir(file):
        raise ValueError(f"access_log: {file!r}: {os.strerror(errno.EISDIR)}")


def _open_at_once(path: str, flags: int) -> int:
    # A pipe whose reader is gone, or slow, would keep the whole process waiting.
    return os.open(path, flags | os.O_NONBLOCK, 0o666)


def standard_output() -> int:
    """Its descriptor. (``sys.stdout`` may be what Twisted has put there: its log.)"""
    return sys.__stdout__.fileno() if sys.__stdout__ else 1


def _as_text(now: float, event: ConnectionClosed) -> str:
    sizes = f"in={event.bytes_in} out={event.bytes_out} {event.duration:.3f}s"
    peer = peer_in_words(event.peer).replace(" ", "\\x20")  # a name could forge the rest of a line
    who = f"{peer} {event.address} {event.tls or '-'}"
    return printable(f"{timestamp(now)} {who} {sizes} {safe_repr(event.reason)}") + "\n"


def _as_json(now: float, event: ConnectionClosed) -> str:
    line = {
        "time": timestamp(now),
        "event": "connection",
        "peer": peer_in_words(event.peer),
        "actor": str(event.address),
        "tls": event.tls,
        "bytes_in": event.bytes_in,
        "bytes_out": event.bytes_out,
        "duration": round(event.duration, 3),
        "reason": event.reason if isinstance(event.reason, str) else safe_repr(event.reason),
    }
    return json.dumps(line) + "\n"
