"""Elixir's actor model on Twisted's reactor. What can go wrong is in ``echoactor.errors``."""

from .actor import Actor, CoroutineActor
from .address import Address
from .dynamic_supervisor import DynamicSupervisor
from .echo import EchoFactory, EchoProtocol
from .errors import ActorError
from .groups import Groups
from .mailbox import MailboxBound
from .messages import Call, Crash, Down, EndOfInput, Exit, Monitor, Shutdown, Timeout
from .options import ServerOptions
from .protocol import ActorFactory, ActorProtocol
from .server import Server
from .specs import BackOff, ChildSpec, DynamicSupervisorSpec, SupervisorSpec
from .supervisor import Supervisor
from .system import ActorSystem

__all__ = [
    "Actor",
    "ActorError",
    "ActorFactory",
    "ActorProtocol",
    "ActorSystem",
    "Address",
    "BackOff",
    "Call",
    "ChildSpec",
    "CoroutineActor",
    "Crash",
    "Down",
    "DynamicSupervisor",
    "DynamicSupervisorSpec",
    "EchoFactory",
    "EchoProtocol",
    "EndOfInput",
    "Exit",
    "Groups",
    "MailboxBound",
    "Monitor",
    "Server",
    "ServerOptions",
    "Shutdown",
    "Supervisor",
    "SupervisorSpec",
    "Timeout",
]
