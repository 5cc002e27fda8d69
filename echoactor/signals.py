"""
Links, monitors and exit signals, as Erlang's reference manual ("Processes") has them.

Both ends of a link, and the watcher and the watched, know each other by
address alone. Setting and removing take effect at once (an actor that an exit signal
has reached is as good as dead, though its last turn is still to come, so that
an exit and then a link answers ``noproc``, in the order sent); what happens at an
end of life is sent from here, in the order links, then monitors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.logger import Logger

from .address import Address
from .messages import Down, Exit, Monitor, is_reason

if TYPE_CHECKING:
    from .cell import Cell

__all__ = ["Ties", "demonitor", "link", "monitor", "send_exit", "sever", "ties_of", "unlink"]

_log = Logger()


class Ties:
    """
    Who is to be told when an actor ends; made when there is somebody.

    :ivar links: linked actors, in the order linked (a dict, because a set has none).
    :ivar watchers: called with the exit reason; by what identifies the watcher.
    :ivar watching: this actor's own monitors, by number.
    :ivar name: what it is registered as.
    :ivar starting: called when the actor has started, if somebody waits for that.
    """

    __slots__ = ("links", "name", "starting", "watchers", "watching")

    def __init__(self) -> None:
        self.name: str | None = None
        self.starting: Callable[[], None] | None = None
        self.links: dict[Address, None] = {}
        self.watchers: dict[object, Callable[[object], None]] = {}
        self.watching: dict[int, Address] = {}


def ties_of(cell: Cell) -> Ties:
    """The ties of an actor, made if it has none yet."""
    if cell.ties is None:
        cell.ties = Ties()
    return cell.ties


def send_exit(cell: Cell, sender: Address | None, reason: object, *, linked: bool) -> None:
    """
    Let an exit signal reach an actor.

    :param sender: the linked actor, or who sent it; None from outside any actor.
    :param linked: whether a link sent it: then ``"kill"`` is a reason like any
        other, for only ``exit(address, "kill")`` cannot be trapped.
    """
    if is_reason(reason, "kill") and not linked:
        reason = "killed"
    elif cell.traps_exits:
        cell.system.deliver(cell.address, Exit(sender, reason), signal=True)
        return
    elif is_reason(reason, "normal") and sender != cell.address:
        return
    cell.end_soon(reason)


def link(cell: Cell, address: Address) -> None:
    """Link an actor to another; to itself does nothing."""
    other = cell.system.find(address)
    if not cell.system.is_alive(cell.address):  # the last words of one that has ended
        if other is not None:
            send_exit(other, cell.address, "noproc", linked=True)
        return
    if other is cell or address in ties_of(cell).links:
        return
    if other is None or other.is_exiting:
        send_exit(cell, address, "noproc", linked=True)
    else:
        ties_of(cell).links[address] = None
        ties_of(other).links[cell.address] = None


def unlink(cell: Cell, address: Address) -> None:
    """Remove a link from both ends, if there is one."""
    if cell.ties is not None and address in cell.ties.links:
        del cell.ties.links[address]
        other = cell.system.find(address)
        if other is not None:
            del ties_of(other).links[cell.address]


def monitor(cell: Cell, address: Address) -> Monitor:
    """Let an actor watch another."""
    system = cell.system
    number = system.next_number()
    watch = Monitor(address, number)
    watcher = cell.address

    def down(reason: object) -> None:
        watching = system.find(watcher)
        if watching is not None:
            ties_of(watching).watching.pop(number, None)
            system.deliver(watcher, Down(watch, address, reason), signal=True)

    other = system.find(address)
    if not system.is_alive(watcher):
        pass  # one that has ended hears nothing any more
    elif other is None or other.is_exiting:
        down("noproc")
    else:
        ties_of(cell).watching[number] = address
        ties_of(other).watchers[number] = down
    return watch


def demonitor(cell: Cell, monitor: Monitor, *, flush: bool) -> None:
    """Take a monitor back; nothing happens if it is gone already."""
    if cell.ties is not None and monitor.number in cell.ties.watching:
        del cell.ties.watching[monitor.number]
        other = cell.system.find(monitor.address)
        if other is not None:
            ties_of(other).watchers.pop(monitor.number, None)
    elif flush:
        cell.take_match(lambda message: type(message) is Down and message.monitor == monitor)


def sever(cell: Cell, reason: object) -> None:
    """An actor has ended: cut its ties, and tell those at the other ends."""
    system = cell.system
    ties, cell.ties = ties_of(cell), None
    for number, address in ties.watching.items():
        watched = system.find(address)
        if watched is not None:
            ties_of(watched).watchers.pop(number, None)
    for address in ties.links:
        peer = system.find(address)
        if peer is not None:
            ties_of(peer).links.pop(cell.address, None)
            send_exit(peer, cell.address, reason, linked=True)
    for watcher in ties.watchers.values():
        try:
            watcher(reason)
        except Exception:  # the others have to hear, too
            _log.failure("the end of {address} could not be told to all", address=str(cell.address))
