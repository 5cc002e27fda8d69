"""How long messages wait for their actor's turn, by samples."""

from __future__ import annotations

from collections.abc import Callable

from .turns import Turns

__all__ = ["SAMPLED", "Delays"]

SAMPLED = 256
"""One message in so many is followed, and stands for all of them."""

GOLDEN = 0.618034
"""Steps of this size, taken around a circle, fall everywhere, and nowhere more often."""


class _Probe:
    """
    Stands in the run queue as an actor does that has got a message.

    :param waited: seconds that the message it stands for has waited already, for the turn to begin.
    :param ahead: of those that are before it, the share that is before that message.
    :param weight: for how many messages it stands.
    """

    __slots__ = ("_ahead", "_delays", "_since", "_waited", "_weight")

    def __init__(self, delays: Delays, waited: float, ahead: float, weight: int) -> None:
        self._delays = delays
        self._since = delays.system.reactor.seconds()
        self._waited = waited
        self._ahead = ahead
        self._weight = weight

    def run(self) -> int:
        delays = self._delays
        seconds = delays.system.reactor.seconds() - self._since
        delays.record(self._waited + max(0.0, seconds) * self._ahead, self._weight)
        return 1


class Delays:
    """
    Tells now and then how long a message has waited for the turn of its actor.

    No message is stamped, and a clock is read for one in 256 alone: when so
    many have come, a probe is put behind the last of them. It stands now for
    one of the first, now for one of the last of those that came since the
    last look: of a burst, the first waits for nobody, and the last for all.

    :param system: whose messages.
    :param record: called with the seconds that one has waited, and for how many it stands.
    """

    def __init__(self, system: Turns, record: Callable[[float, int], object]) -> None:
        self.system = system
        self.record = record
        self._waiting = 0  # actors, at the last look
        self._due = 0  # messages that have come, and for which nothing stands yet
        self._place = 0.0  # for whom to stand next: from 0, the last that came, to 1, the first

    def start(self) -> None:
        """Begin to look."""
        self._waiting = self.system.count_runnable()
        self.system.samplers = (*self.system.samplers, self)

    def stop(self) -> None:
        """Look no more."""
        self.system.samplers = tuple(one for one in self.system.samplers if one is not self)

    def probe(self) -> None:
        """Take a sample now, for quiet times in which few come. It stands for itself alone."""
        self.system.enqueue(_Probe(self, 0.0, 1.0, 1))

    def look(self, handled: int, waiting: int, since: float | None) -> None:
        """
        See what has come. Turns call this.

        :param handled: how many messages were handled since the last time.
        :param waiting: how many actors wait for a turn now.
        :param since: when those came that did not wait the last time, if not just now.
        """
        new, self._waiting = handled + waiting - self._waiting, waiting
        self._due += max(0, new)
        if self._due >= SAMPLED and new > 0 and waiting:
            weight = self._due // SAMPLED * SAMPLED
            self._due -= weight
            ahead = 1 - min(new, waiting) * self._place / waiting
            self._place = (self._place + GOLDEN) % 1
            waited = 0.0 if since is None else max(0.0, self.system.turn_time - since)
            self.system.enqueue(_Probe(self, waited, ahead, weight))
            self._waiting += 1
