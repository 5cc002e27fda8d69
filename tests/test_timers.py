"""One heap of time limits, one reactor call."""

from functools import partial

from hypothesis import given, strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from echoactor.timers import Timer, Timers, check_seconds


class TimersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.timers = Timers(self.clock)
        self.fired: list[object] = []

    def schedule(self, delay: float, name: object) -> Timer:
        return self.timers.schedule(delay, lambda: self.fired.append(name))

    def test_order(self) -> None:
        """Limits fire in the order of their times; equal ones in the order they were set."""
        for delay, name in ((2, "c"), (1, "a"), (1, "b")):
            self.schedule(delay, name)
        self.clock.pump([1, 1])
        self.assertEqual(self.fired, ["a", "b", "c"])

    def test_one_reactor_call(self) -> None:
        """However many limits there are, the reactor has one call, for the earliest."""
        for delay in (3, 2, 1, 4):
            self.schedule(delay, delay)
        self.assertEqual([call.getTime() for call in self.clock.getDelayedCalls()], [1])

    def test_cancel(self) -> None:
        """A cancelled limit does not fire, and cancelling again or too late does nothing."""
        one, two = self.schedule(1, "one"), self.schedule(1, "two")
        one.cancel()
        one.cancel()
        self.clock.advance(1)
        two.cancel()
        self.assertEqual((self.fired, one.fired, two.fired), (["two"], False, True))

    def test_settle_leaves_nothing(self) -> None:
        """When all limits are lifted, settling takes the reactor call back."""
        self.timers.is_busy = True
        self.schedule(1, "one").cancel()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.timers.settle()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.schedule(1, "two")
        self.timers.settle()
        self.clock.advance(1)
        self.assertEqual((self.fired, self.clock.getDelayedCalls()), (["two"], []))

    def test_idle_leaves_nothing(self) -> None:
        """Outside the system's turns, lifting the last limit takes the reactor call back at once."""
        one, two = self.schedule(1, "one"), self.schedule(2, "two")
        one.cancel()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        two.cancel()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lifted_limits_do_not_pile_up(self) -> None:
        """Ten thousand limits set and lifted again leave a small heap, and the others work."""
        self.schedule(10, "last")
        for _ in range(10_000):
            self.schedule(5, "never").cancel()
        self.assertLess(len(self.timers._heap), 200)
        self.clock.advance(10)
        self.assertEqual(self.fired, ["last"])

    def test_set_from_a_limit(self) -> None:
        """A limit may set another."""

        def set_another() -> None:
            self.schedule(1, "second")

        self.timers.schedule(1, set_another)
        self.clock.pump([1, 1])
        self.assertEqual(self.fired, ["second"])

    @given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=200))
    def test_like_a_sorted_list(self, limits: list[tuple[int, bool]]) -> None:
        """Whatever is set and lifted, what is left fires in order of time, then age."""
        clock, fired = Clock(), list[tuple[int, int]]()
        timers = Timers(clock)
        for number, (delay, lifted) in enumerate(limits):
            timer = timers.schedule(delay, partial(fired.append, (delay, number)))
            if lifted:
                timer.cancel()
        clock.pump([1] * 21)
        expected = sorted((delay, number) for number, (delay, lifted) in enumerate(limits) if not lifted)
        self.assertEqual(fired, expected)
        self.assertEqual(clock.getDelayedCalls(), [])


class CheckSecondsTests(SynchronousTestCase):
    def test_durations(self) -> None:
        """Numbers from zero on, and None, are durations."""
        for value in (None, 0, 1, 0.5):
            check_seconds("timeout", value)

    def test_no_durations(self) -> None:
        """What is no duration is refused with the option's name, the value, and what is right."""
        for value in (-1, float("nan"), float("inf"), "5", b"", [1], True, 10**400):
            with self.assertRaisesRegex(ValueError, "idle: .* is not a number of seconds >= 0"):
                check_seconds("idle", value)  # type: ignore[arg-type]  # that is the test
