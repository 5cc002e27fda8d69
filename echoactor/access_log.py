"""The access log: a line for each connection that is over."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any, TextIO

from twisted.logger import Logger
from twisted.python.reflect import safe_repr

from .events import ConnectionClosed, Events
from .log_output import printable, timestamp

__all__ = ["AccessLog", "peer_text", "standard_output"]

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
            old.close()

    def _open(self) -> TextIO:
        if self._path is None:
            return os.fdopen(os.dup(standard_output()), "w", buffering=1)
        try:
            # Each line is one write to its end: several processes may have it open.
            return open(self._path, "a", buffering=1, encoding="utf-8")
        except OSError as error:
            raise ValueError(f"access_log: {self._name!r}: {error.strerror}") from None

    def _closed(self, event: ConnectionClosed) -> None:
        try:
            self._file.write(self._line(time.time(), event))
        except OSError as error:
            _log.error("--access-log: {path!r}: {cause}", path=self._path or "-", cause=error.strerror)


def standard_output() -> int:
    """Its descriptor. (``sys.stdout`` may be what Twisted has put there: its log.)"""
    return sys.__stdout__.fileno() if sys.__stdout__ else 1


def peer_text(peer: Any) -> str:
    """The other end of a connection (an ``IAddress``), as people write it."""
    host = getattr(peer, "host", None)
    if host is None:
        name = getattr(peer, "name", None)
        return "unix" if not name else printable(f"unix:{os.fsdecode(name)}")
    return printable(f"[{host}]:{peer.port}" if ":" in host else f"{host}:{peer.port}")


def _as_text(now: float, event: ConnectionClosed) -> str:
    sizes = f"in={event.bytes_in} out={event.bytes_out} {event.duration:.3f}s"
    who = f"{peer_text(event.peer)} {event.address} {event.tls or '-'}"
    return printable(f"{timestamp(now)} {who} {sizes} {safe_repr(event.reason)}") + "\n"


def _as_json(now: float, event: ConnectionClosed) -> str:
    line = {
        "time": timestamp(now),
        "event": "connection",
        "peer": peer_text(event.peer),
        "actor": str(event.address),
        "tls": event.tls,
        "bytes_in": event.bytes_in,
        "bytes_out": event.bytes_out,
        "duration": round(event.duration, 3),
        "reason": event.reason if isinstance(event.reason, str) else safe_repr(event.reason),
    }
    return json.dumps(line) + "\n"
