"""What is logged of the events."""

from __future__ import annotations

from twisted.logger import Logger
from twisted.python.reflect import safe_repr

from .events import ActorCrashed, ActorRestarted, ConnectionRefused
from .text import peer_in_words

__all__ = ["log_crash", "log_refusal", "log_restart"]

_log = Logger()

# What is logged is text, because a JSON log drops every other object.


def log_crash(event: ActorCrashed) -> None:
    """Log a crash; every system subscribes this one from the start."""
    if event.failure is not None:
        _log.failure("actor {address} crashed", event.failure, address=str(event.address))
    else:
        _log.error(
            "actor {address} exited: {reason}", address=str(event.address), reason=safe_repr(event.reason)
        )


def log_restart(event: ActorRestarted) -> None:
    """Log a restart; every system subscribes this one, too."""
    _log.info(
        "supervisor {supervisor} has restarted {child} as {address}; it had ended with {reason}",
        supervisor=str(event.supervisor),
        child=safe_repr(event.id),
        address=str(event.address),
        reason=safe_repr(event.reason),
    )


def log_refusal(event: ConnectionRefused) -> None:
    """Log a connection that is refused; the others are for the access log."""
    _log.info("connection from {peer} refused: {reason}", peer=peer_in_words(event.peer), reason=event.reason)
