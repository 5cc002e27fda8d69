"""How the command writes its log: as text or JSON, and never so much of the same that it fills the disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from math import isfinite
from time import time
from typing import Any

from twisted.logger import (
    FileLogObserver,
    ILogObserver,
    LegacyLogObserverWrapper,
    LogEvent,
    LogLevel,
    formatEvent,
    formatEventAsClassicLogText,
)
from zope.interface import implementer

from .text import printable

__all__ = ["FORMATS", "Rationed", "as_json", "as_text", "choose", "in_a_second", "timestamp"]

RATION = 10
"""Lines of the same error in a second. Who causes one may do so thousands of
times a second, and would fill the disk."""

LONGEST = 200
"""Letters of a line that stands for those that were left out."""

KINDS = 1000
"""Different errors in a second that are told apart; further ones count as the same."""

OTHERS = "lines of other kinds"

OWN = ("message", "time", "system", "format", "isError", "failure", "why")
"""Fields of an event that are Twisted's, beside those that begin with ``log_``."""


def timestamp(seconds: float) -> str:
    """A time (seconds since 1970) as ISO 8601 has it, in UTC, to the millisecond."""
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def as_text(event: LogEvent) -> str | None:
    """An event as twistd writes it; lines after its first are indented, so none can be forged."""
    text = formatEventAsClassicLogText(event)
    return None if text is None else printable(text, "\n\t")


def as_json(event: LogEvent) -> str | None:
    """
    An event as one line of JSON.

    Its keys: ``time`` (ISO 8601, UTC), ``level``, ``logger``, ``message``; ``traceback`` where there is one;
    ``fields``, what the message is made of, where that is text or a number.
    """
    failure = event.get("log_failure")
    fields = {
        key: value
        for key, value in event.items()
        if _is_plain(value) and not key.startswith("log_") and key not in OWN
    }
    message = formatEvent(event)
    if not message:
        if failure is None:
            return None
        message = failure.getErrorMessage()
    line: dict[str, Any] = {
        "time": timestamp(event["log_time"]),
        "level": getattr(event.get("log_level"), "name", "info"),
        "logger": event.get("log_namespace", ""),
        "message": message,
    }
    if fields:
        line["fields"] = fields
    if failure is not None:
        line["traceback"] = failure.getTraceback()
    return json.dumps(line) + "\n"


def _is_plain(value: object) -> bool:
    """Whether JSON has it; it has neither infinity nor NaN."""
    return isinstance(value, (str, int)) or (isinstance(value, float) and isfinite(value))


FORMATS: dict[str, Callable[[LogEvent], str | None]] = {"text": as_text, "json": as_json}


@dataclass(slots=True)
class _Seen:
    """How many lines of a kind there were in this second, and the first that was left out."""

    count: int = 0
    left_out: str = ""


@implementer(ILogObserver)
class Rationed:
    """
    Passes events on, and of the same error no more than ten a second; then it tells how many more there were.

    The same are those of one message and, where there is an exception, of one
    class; debug lines are not counted.

    :param observer: to whom they are passed on.
    :param in_a_second: calls a function in a second, from whatever thread.
    """

    def __init__(
        self,
        observer: Callable[[LogEvent], object],
        in_a_second: Callable[[Callable[[], object]], object],
    ) -> None:
        self._observer = observer
        self._in_a_second = in_a_second
        self._second = 0
        self._is_due = False  # something was left out in this second
        self._seen: dict[tuple[str, ...], _Seen] = {}

    def __call__(self, event: LogEvent) -> None:
        """Take an event."""
        second = int(event["log_time"])
        if second != self._second:
            self._second = second
            self._tell(event["log_time"])
        if event.get("log_level") is not LogLevel.debug:
            kind = _kind_of(event)
            if kind not in self._seen and len(self._seen) >= KINDS:
                kind = ("", OTHERS)
            seen = self._seen.setdefault(kind, _Seen())
            seen.count += 1
            if seen.count > RATION:
                if not seen.left_out:
                    text = "" if kind[1] is OTHERS else formatEvent(event)
                    seen.left_out = text[:LONGEST] or OTHERS
                if not self._is_due:
                    self._in_a_second(lambda: self._tell_late(second))
                self._is_due = True
                return
        self._observer(event)

    def _tell_late(self, second: int) -> None:
        """Tell it, if nothing that was logged since has let it be told."""
        if second == self._second:
            self._tell(time())

    def _tell(self, now: float) -> None:
        """A second is over: tell what was left out in it."""
        all_seen, self._seen = self._seen, {}
        self._is_due = False
        for kind, seen in all_seen.items():
            if seen.left_out:
                self._observer(
                    {
                        "log_format": "{count} more like this: {text}",
                        "log_level": LogLevel.warn,
                        "log_namespace": kind[0],
                        "log_time": now,
                        "count": seen.count - RATION,
                        "text": seen.left_out,
                    }
                )


def _kind_of(event: LogEvent) -> tuple[str, ...]:
    """What is the same for events that differ in details alone."""
    failure = event.get("log_failure")
    text = event.get("log_format") or ""
    if text in ("", "{log_text}", "{log_io}"):  # Twisted's old log, and what was printed
        text = formatEvent(event)[:100]
    return event.get("log_namespace") or "", text, "" if failure is None else failure.type.__qualname__


# twistd makes an observer by its name, without arguments; what it should be is put here before.
_choice: tuple[str, Mapping[str, Any]] = ("text", {})


def choose(log_format: str | None, parent: Any) -> str:
    """
    Have the log written in a format, and rationed, by twistd or twist.

    It stays theirs to open the file and to rotate it. An observer of the user's own (``twistd --logger``) is
    left alone.

    :param log_format: a name in :data:`FORMATS`; None for text, or for what twist was told.
    :param parent: the options of twistd or of twist; None without them.
    :returns: the format.
    :raises ValueError: they do not go with the format.
    """
    global _choice
    if parent is None:
        return log_format or "text"
    if "fileLogObserverFactory" in parent:  # twist
        chosen: str = log_format or parent["logFormat"]
        parent["fileLogObserverFactory"] = lambda file: _RationedFile(file, FORMATS[chosen])
        return chosen
    if parent.get("logger"):
        if log_format is not None:
            raise ValueError(f"log_format: {log_format!r} is not for twistd's --logger, which has its own")
        return "text"
    if parent.get("syslog") and log_format == "json":
        raise ValueError("log_format: 'json' is not for twistd's --syslog, which has lines of its own")
    _choice = (log_format or "text", dict(parent))
    parent["logger"] = f"{__name__}.twistd_observer"
    return _choice[0]


def twistd_observer() -> ILogObserver:
    """The observer that twistd would make itself, in the format that was chosen, and rationed."""
    from twisted.scripts._twistd_unix import UnixAppLogger

    log_format, options = _choice
    observer: Any = UnixAppLogger(options)._getLogObserver()  # opens and rotates the file
    if isinstance(observer, FileLogObserver):
        observer.formatEvent = FORMATS[log_format]
        return Rationed(observer, in_a_second)
    # Twisted writes to the syslog as it comes; a NUL in it would raise, and the line be lost.
    syslog = observer.__self__
    write = syslog.syslog
    syslog.syslog = lambda priority, line: write(priority, printable(line, "\t"))
    return Rationed(LegacyLogObserverWrapper(observer), in_a_second)


def in_a_second(function: Callable[[], object]) -> None:
    """Let the reactor call a function in a second, whichever reactor and thread this is."""
    from twisted.internet import reactor as installed  # not earlier: --reactor must come first

    reactor: Any = installed
    reactor.callFromThread(reactor.callLater, 1.0, function)


@implementer(ILogObserver)
class _RationedFile(FileLogObserver):
    """What twist wants of an observer."""

    def __init__(self, file: Any, format_event: Callable[[LogEvent], str | None]) -> None:
        super().__init__(file, format_event)
        self._rationed = Rationed(super().__call__, in_a_second)

    def __call__(self, event: LogEvent) -> None:
        self._rationed(event)
