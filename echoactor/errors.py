"""What can go wrong, one class each, below :class:`ActorError`; and :class:`ActorExit`, which is no error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.python.reflect import safe_repr

if TYPE_CHECKING:
    from .address import Address

__all__ = [
    "ActorError",
    "ActorExit",
    "CallFailed",
    "CallTimeout",
    "CalleeExited",
    "CallingSelf",
    "CertificateError",
    "ChildError",
    "ListenError",
    "MailboxFull",
    "NameTaken",
    "NoCurrentActor",
    "NotAnActor",
    "SpecError",
    "StartFailed",
    "SystemStopped",
]


class ActorError(Exception):
    """The root of the errors of this package."""


class NotAnActor(ActorError, TypeError):
    """What was given to ``spawn`` is neither an Actor class nor a coroutine function."""


class SystemStopped(ActorError):
    """The actor system is stopping or has stopped: it starts nothing any more."""


class CertificateError(ActorError):
    """A server's certificate, key or authority cannot be used; the text names its file."""


class ListenError(ActorError):
    """A server's endpoint could not be opened."""


class CallFailed(ActorError):
    """
    A call ended without a reply.

    :ivar address: whom the call was made to: an address, or a name that nobody has.
    """

    def __init__(self, address: Address | str, message: str) -> None:
        super().__init__(message)
        self.address = address


class CallTimeout(CallFailed):
    """
    No reply came in time. The callee lives on, and a late reply is dropped.

    :ivar timeout: how long the caller waited, in seconds.
    """

    def __init__(self, address: Address, timeout: float) -> None:
        super().__init__(address, f"no reply from {address} within {timeout:g} s")
        self.timeout = timeout


class CalleeExited(CallFailed):
    """
    The callee ended before it replied, or was dead already.

    :ivar reason: its exit reason; ``"noproc"`` when it was dead already.
    """

    def __init__(self, address: Address | str, reason: object) -> None:
        if isinstance(address, str):
            text = f"no actor has the name {address!r}"
        elif type(reason) is str and reason == "noproc":  # a reason may be hostile: isinstance would ask it
            text = f"{address} was dead already"
        else:
            text = f"{address} has ended: {safe_repr(reason)}"
        super().__init__(address, text)
        self.reason = reason


class CallingSelf(CallFailed):
    """An actor called itself; it would wait for a reply that only it could give."""

    def __init__(self, address: Address) -> None:
        super().__init__(address, f"{address} called itself, and would wait for ever")


class MailboxFull(CallFailed):
    """The request of a call was dropped: the callee's mailbox holds as many messages as it may."""

    def __init__(self, address: Address) -> None:
        super().__init__(address, f"the mailbox of {address} is full")


class StartFailed(ActorError):
    """
    An actor ended before it had started.

    :ivar address: whose start that was.
    :ivar reason: its exit reason; ``"timeout"`` when it took too long, and was killed.
    """

    def __init__(self, address: Address, reason: object) -> None:
        super().__init__(f"{address} did not start: {safe_repr(reason)}")
        self.address = address
        self.reason = reason


class NameTaken(ActorError):
    """
    A name is registered already.

    :ivar name: the name.
    :ivar address: who has it.
    """

    def __init__(self, text: str, name: str, address: Address) -> None:
        super().__init__(text)
        self.name = name
        self.address = address


class SpecError(ActorError, ValueError):
    """What is to be supervised is written down wrongly; the text names the field and says what is right."""


class ChildError(ActorError):
    """
    A supervisor cannot do what it was asked for.

    :ivar problem: OTP's word for it: ``"not_found"``, ``"already_started"``,
        ``"already_present"``, ``"running"``, ``"restarting"`` or ``"max_children"``.
    :ivar id: the child's id, or its address.
    :ivar address: where the child runs, if it does.
    """

    def __init__(self, problem: str, id: object, address: Address | None = None) -> None:
        super().__init__(f"child {safe_repr(id)}: {problem}" + (f" as {address}" if address else ""))
        self.problem = problem
        self.id = id
        self.address = address


class NoCurrentActor(ActorError):
    """A link or monitor was asked for where no actor runs that could be its other end."""


class ActorExit(BaseException):
    """
    Raised by ``me.exit(reason)`` and by nothing else: it unwinds the actor, which then ends.

    Not an :class:`Exception`, so that ``except Exception`` does not keep an
    actor alive by accident. As with Erlang's ``exit/1``, an actor that catches
    it on purpose goes on living.

    :ivar reason: the exit reason.
    """

    def __init__(self, reason: object) -> None:
        super().__init__(reason)
        self.reason = reason
