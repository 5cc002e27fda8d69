"""The queue of messages that one actor has not read yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from .messages import Down, Exit

__all__ = ["EMPTY", "Mailbox", "MailboxBound"]


class _Empty:
    def __repr__(self) -> str:
        return "EMPTY"


EMPTY: Final = _Empty()
"""What taking from an empty mailbox returns; any other object, None too, may be a message."""


@dataclass(frozen=True, slots=True)
class MailboxBound:
    """
    How many messages may wait for an actor, and which one goes when one more comes.

    :ivar limit: messages, at least 1.
    :ivar drop: ``"newest"``, the one that comes, or ``"oldest"``. Either way
        it becomes a dead letter. Exits and Downs are never dropped, so with
        those alone waiting, the mailbox may grow past the limit.
    :raises ValueError: the limit is no positive integer, or ``drop`` is neither.
    """

    limit: int
    drop: str = "newest"

    def __post_init__(self) -> None:
        if type(self.limit) is not int or self.limit < 1:
            raise ValueError(f"limit: {self.limit!r} is not a number of messages >= 1")
        if self.drop not in ("newest", "oldest"):
            raise ValueError(f"drop: {self.drop!r} is neither 'newest' nor 'oldest'")


class Mailbox:
    """
    Messages in order of arrival.

    New ones go to ``arrived``, a plain list that is made for the first of
    them and handed over whole when the actor reads: so an actor with nothing
    to read owns no queue, and a message costs one append. What was handed
    over and not handled (the actor had its share of the turn, or awaits, or
    looks for something else) waits in ``backlog``, ahead of ``arrived``.
    Either is None when it is empty.
    """

    __slots__ = ("arrived", "backlog", "bound")

    def __init__(self, bound: MailboxBound | None = None) -> None:
        self.arrived: list[object] | None = None
        self.backlog: deque[object] | None = None
        self.bound = bound

    def insert(self, message: object, *, signal: bool = False) -> object:
        """
        Add a message at the end.

        :param signal: that it may not be dropped.
        :returns: the message that the bound drops for it, or EMPTY.
        """
        dropped: object = EMPTY
        if self.bound is not None and not signal and self.count_unread() >= self.bound.limit:
            if self.bound.drop == "newest":
                return message
            dropped = self.take_match(_may_be_dropped)
        if self.arrived is None:
            self.arrived = [message]
        else:
            self.arrived.append(message)
        return dropped

    def count_unread(self) -> int:
        """How many messages wait."""
        return len(self.backlog or ()) + len(self.arrived or ())

    def gather(self) -> deque[object] | None:
        """Move what has arrived to the backlog, and return that; None when nothing waits."""
        arrived = self.arrived
        if arrived is not None:
            self.arrived = None
            if self.backlog is None:
                self.backlog = deque(arrived)
            else:
                self.backlog.extend(arrived)
        return self.backlog

    def take_first(self) -> object:
        """Take the first message, or EMPTY."""
        backlog = self.backlog or self.gather()
        if backlog is None:
            return EMPTY
        message = backlog.popleft()
        if not backlog:
            self.backlog = None
        return message

    def take_match(self, wanted: Callable[[object], object], *, news_only: bool = False) -> object:
        """
        Take the first message that ``wanted`` accepts, or EMPTY; all others stay where they are.

        (Moved to the backlog, what nobody has looked at would pass for looked at, and wake nobody.)

        :param news_only: the backlog is known not to match, and looking through
            it again for each message that comes would take quadratic time.
        :raises Exception: what ``wanted`` raises; no message is lost then.
        """
        message = EMPTY if news_only else self._take_from(self.backlog, wanted)
        # Only now, because what looked through the backlog may have sent something here.
        return self._take_from(self.arrived, wanted) if message is EMPTY else message

    def _take_from(
        self, waiting: list[object] | deque[object] | None, wanted: Callable[[object], object]
    ) -> object:
        for index, message in enumerate(waiting or ()):
            if wanted(message):
                del waiting[index]  # type: ignore[union-attr]  # it is there
                self.arrived = self.arrived or None
                self.backlog = self.backlog or None
                return message
        return EMPTY

    def clear(self) -> None:
        """Forget all messages."""
        self.arrived = self.backlog = None


def _may_be_dropped(message: object) -> bool:
    # Not isinstance, which would ask the message: a dead weakref.proxy raises, in whoever sends the next one.
    return type(message) is not Exit and type(message) is not Down
