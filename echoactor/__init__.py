"""Elixir's actor model on Twisted's reactor."""

from .actor import Actor, CoroutineActor
from .address import Address
from .echo import EchoFactory, EchoProtocol
from .errors import (
    ActorError,
    ActorExit,
    CalleeExited,
    CallFailed,
    CallingSelf,
    CallTimeout,
    ListenError,
    NotAnActor,
    SystemStopped,
)
from .messages import Call, Crash, Down, EndOfInput, Exit, Monitor, Shutdown, Timeout
from .protocol import ActorFactory, ActorProtocol
from .server import Listener
from .system import ActorSystem

__all__ = [
    "Actor",
    "ActorError",
    "ActorExit",
    "ActorFactory",
    "ActorProtocol",
    "ActorSystem",
    "Address",
    "Call",
    "CallFailed",
    "CallTimeout",
    "CalleeExited",
    "CallingSelf",
    "CoroutineActor",
    "Crash",
    "Down",
    "EchoFactory",
    "EchoProtocol",
    "EndOfInput",
    "Exit",
    "ListenError",
    "Listener",
    "Monitor",
    "NotAnActor",
    "Shutdown",
    "SystemStopped",
    "Timeout",
]
