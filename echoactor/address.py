"""Where to send."""

from __future__ import annotations

from functools import total_ordering
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

if TYPE_CHECKING:
    from .delayed import MessageTimer
    from .runtime import Runtime

__all__ = ["Address"]


@total_ordering
class Address:
    """
    The address of one actor: a value that may be kept, compared and sent
    about, also after the actor died.

    It names its actor (system, start number of the system, actor number) and
    does not hold it: only the system finds the actor. So an address keeps
    nothing alive, and could name an actor on another machine.

    Addresses come from ``spawn`` and from ``me.address``; programs make none.
    """

    __slots__ = ("_system", "number")

    def __init__(self, system: Runtime, number: int) -> None:
        self._system = system
        self.number = number

    def send(self, message: object) -> None:
        """
        Put ``message`` into the actor's mailbox, and return at once.

        Never blocks, never runs the receiver, and never raises for the
        receiver's state: a message to a dead address is counted as a dead
        letter. Messages from one sender to one receiver arrive in the order
        sent.

        :param message: any object. Best something nobody changes later: a
            frozen dataclass, a tuple, a string.
        """
        self._system.deliver(self, message)

    def call(self, request: object, timeout: float | None = 5.0) -> Deferred[Any]:
        """
        Send ``Call(request, reply)`` and wait for the reply, as ``GenServer.call`` does.

        :param request: what is asked for.
        :param timeout: how long to wait, in seconds; None waits for ever.
        :returns: a Deferred of the reply. It fires from the run queue, never
            inside this call, unless the actor calls itself. Cancelling it gives the call up.
        :raises ValueError: ``timeout`` is no number of seconds.

        The Deferred fails with :exc:`~echoactor.errors.CallTimeout`,
        :exc:`~echoactor.errors.CalleeExited` (reason ``"noproc"`` when the actor was
        dead already), :exc:`~echoactor.errors.MailboxFull` or, at once,
        :exc:`~echoactor.errors.CallingSelf`.
        """
        return self._system.call_actor(self, request, timeout)

    def exit(self, reason: object) -> None:
        """
        Send an exit signal, from the current actor if there is one.

        It ends an actor that does not trap exits as soon as the actor's
        current step is over, ahead of all it has not read; one that traps
        exits receives ``Exit(sender, reason)``. The reason ``"kill"`` cannot
        be trapped, and ``"normal"`` from somebody else does nothing to an
        actor that does not trap (Erlang reference manual, "Processes").

        :param reason: any value.
        """
        self._system.send_exit(self, reason)

    def stop(self, reason: object = "normal", timeout: float | None = None) -> Deferred[None]:
        """
        Let the actor end by itself as soon as its current step is over; OTP: ``GenServer.stop``.

        It ends as by its own ``exit(reason)``: ``terminate`` is called, whether
        it traps exits or not.

        :param reason: its exit reason.
        :param timeout: how long to wait for its end, in seconds; None waits for ever.
        :raises ValueError: ``timeout`` is no number of seconds.
        :returns: a Deferred that fires when the actor is dead. It fails with
            :exc:`~echoactor.errors.CalleeExited` when it was dead before (reason
            ``"noproc"``) or ends for another reason, with
            :exc:`~echoactor.errors.CallTimeout`, or with :exc:`~echoactor.errors.CallingSelf`.
        """
        return self._system.stop_actor(self, reason, timeout)

    def ended(self) -> Deferred[Any]:
        """
        Wait for the actor's end: a monitor for those who are no actors.

        :returns: a Deferred of its exit reason, ``"noproc"`` when it is dead
            already. Cancelling it ends the wait.
        """
        return self._system.wait_for_end(self)

    def send_after(self, delay: float, message: object) -> MessageTimer:
        """
        Send ``message`` once, later; Elixir: ``Process.send_after``.

        :param delay: seconds from now.
        :returns: a timer that can be cancelled. It ends with the receiver.
        :raises ValueError: ``delay`` is no number of seconds >= 0.
        """
        return self._system.send_later(self, message, delay, repeat=False)

    def send_interval(self, interval: float, message: object) -> MessageTimer:
        """
        Send ``message`` again and again; Erlang: ``timer:send_interval``.

        :param interval: seconds before the first message, and between messages.
            One that is late does not shift those after it.
        :returns: a timer that can be cancelled. It ends with the receiver.
        :raises ValueError: ``interval`` is no number of seconds > 0.
        """
        return self._system.send_later(self, message, interval, repeat=True)

    def _key(self) -> tuple[str, int, int]:
        return (self._system.label, self._system.start_number, self.number)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Address):
            return NotImplemented
        return self.number == other.number and self._key() == other._key()

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Address):
            return NotImplemented
        return self._key() < other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        name, start, number = self._key()
        return f"<{name}.{start}.{number}>"

    # A copied message must still reach the same actor, not a copied system.

    def __copy__(self) -> Address:
        return self

    def __deepcopy__(self, memo: object) -> Address:
        return self

    def __reduce__(self) -> Any:
        raise TypeError(f"{self!r} cannot be pickled: it means something in its own process only")
