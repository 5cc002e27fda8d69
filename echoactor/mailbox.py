"""The queue of messages that one actor has not read yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Final

__all__ = ["EMPTY", "Mailbox"]


class _Empty:
    def __repr__(self) -> str:
        return "EMPTY"


EMPTY: Final = _Empty()
"""What taking from an empty mailbox returns; any other object, None too, may be a message."""


class Mailbox:
    """
    Messages in order of arrival.

    New ones go to ``arrived``, a plain list that is made for the first of
    them and handed over whole when the actor reads: so an actor with nothing
    to read owns no queue, and a message costs one append. What was handed
    over and not handled (the actor had its share of the turn, or awaits, or
    looks for something else) waits in ``backlog``, ahead of ``arrived``.
    """

    __slots__ = ("arrived", "backlog")

    def __init__(self) -> None:
        self.arrived: list[object] | None = None
        self.backlog: deque[object] | None = None

    def put(self, message: object) -> None:
        """Add a message at the end."""
        if self.arrived is None:
            self.arrived = [message]
        else:
            self.arrived.append(message)

    def count_unread(self) -> int:
        """How many messages wait."""
        return len(self.backlog or ()) + len(self.arrived or ())

    def take_batch(self, limit: int) -> Sequence[object]:
        """Take the first messages, at most ``limit``, in order."""
        backlog = self.backlog
        if backlog is None:
            arrived = self.arrived
            if arrived is None:
                return ()
            self.arrived = None
            if len(arrived) <= limit:
                return arrived
            backlog = self.backlog = deque(arrived)
        batch = [backlog.popleft() for _ in range(min(limit, len(backlog)))]
        if not backlog:
            self.backlog = None
        return batch

    def put_back(self, messages: Iterable[object]) -> None:
        """Put the unhandled rest of a batch back in front."""
        rest = list(messages)
        if self.backlog is not None:
            self.backlog.extendleft(reversed(rest))
        elif rest:
            self.backlog = deque(rest)

    def take_first(self) -> object:
        """Take the first message, or EMPTY."""
        backlog = self.backlog
        if backlog is None:
            arrived = self.arrived
            if arrived is None:
                return EMPTY
            self.arrived = None
            if len(arrived) == 1:
                return arrived[0]
            backlog = self.backlog = deque(arrived)
        message = backlog.popleft()
        if not backlog:
            self.backlog = None
        return message

    def take_match(self, wanted: Callable[[object], object], start: int = 0) -> object:
        """
        Take the first message that ``wanted`` accepts, or EMPTY; the others stay, in order.

        :param start: how many messages at the front are known not to match.
        :raises Exception: what ``wanted`` raises; no message is lost then.
        """
        if self.arrived is not None:
            if self.backlog is None:
                self.backlog = deque()
            self.backlog.extend(self.arrived)
            self.arrived = None
        backlog = self.backlog
        if backlog is None:
            return EMPTY
        for index, message in enumerate(islice(backlog, start, None), start):
            if wanted(message):
                del backlog[index]
                if not backlog:
                    self.backlog = None
                return message
        return EMPTY

    def clear(self) -> None:
        """Forget all messages."""
        self.arrived = self.backlog = None
