"""Messages sent later."""

from __future__ import annotations

from .support import ActorTestCase


class SendAfterTests(ActorTestCase):
    def test_once(self) -> None:
        """A message sent after a delay arrives then, once, and leaves nothing behind."""
        address, got = self.recorder()
        address.send_after(2, "tick")
        self.pass_time(1.9)
        self.assertEqual(got, [])
        self.pass_time(0.1)
        self.pass_time(9)
        self.assertEqual((got, self.clock.getDelayedCalls()), (["tick"], []))
        cell = self.system.find(address)
        assert cell is not None and cell.ties is not None
        self.assertEqual(cell.ties.watchers, {})

    def test_cancel(self) -> None:
        """25: Cancelling tells the time left; None after it was sent, or cancelled, or its receiver died."""
        address, got = self.recorder()
        timer = address.send_after(5, "tick")
        self.pass_time(2)
        self.assertEqual([timer.cancel(), timer.cancel()], [3, None])
        timer = address.send_after(5, "tock")
        self.pass_time(5)
        self.assertEqual((timer.cancel(), got), (None, ["tock"]))
        timer = address.send_after(5, "tick")
        address.exit("kill")
        self.settle()
        self.assertIsNone(timer.cancel())

    def test_ends_with_the_receiver(self) -> None:
        """Timers end with their receiver, and one for a dead address never begins; no dead letters."""
        address, _ = self.recorder()
        for _ in range(2):
            address.send_after(5, "tick")
            address.send_interval(5, "tick")
            address.exit("kill")
            self.settle()
            self.assertEqual(self.clock.getDelayedCalls(), [])
        self.pass_time(10)
        self.assertEqual(self.system.dead_letters, 0)

    def test_at_once(self) -> None:
        """A delay of 0 is allowed, and still leaves the caller first."""
        address, got = self.recorder()
        address.send_after(0, "tick")
        self.assertEqual(got, [])
        self.settle()
        self.assertEqual(got, ["tick"])

    def test_wrong_delay(self) -> None:
        """What is no number of seconds is refused with the option's name."""
        address, _ = self.recorder()
        for wrong in (-1, None, "1", float("nan"), float("inf"), True):
            with self.assertRaisesRegex(ValueError, f"delay: {wrong!r} is not a number of seconds >= 0"):
                address.send_after(wrong, "tick")  # type: ignore[arg-type]  # the point
        for wrong in (-1, 0, None, "1"):
            with self.assertRaisesRegex(ValueError, f"interval: {wrong!r} is not a number of seconds > 0"):
                address.send_interval(wrong, "tick")  # type: ignore[arg-type]  # the point


class SendIntervalTests(ActorTestCase):
    def test_again_and_again(self) -> None:
        """A message comes after each interval, until it is cancelled with the time left."""
        address, got = self.recorder()
        timer = address.send_interval(2, "tick")
        for _ in range(7):
            self.pass_time(1)
        self.assertEqual((got, timer.cancel()), (["tick"] * 3, 1))
        self.pass_time(9)
        self.assertEqual((len(got), self.clock.getDelayedCalls()), (3, []))

    def test_lateness_does_not_add_up(self) -> None:
        """One that is late does not shift those after it, and what was missed altogether is left out."""
        address, got = self.recorder()
        address.send_interval(2, "tick")
        for jump, so_far in ((3, 1), (1, 2), (7, 3), (1, 4)):  # at 3, 4, 11 (for 6, 8 and 10) and 12
            self.clock.advance(jump)
            self.settle()
            self.assertEqual(len(got), so_far)

    def test_cancel_in_its_own_step(self) -> None:
        """The receiver may cancel it when a message comes."""
        address, got = self.recorder()
        timer = address.send_interval(2, "tick")
        self.pass_time(2)
        self.assertEqual((timer.cancel(), len(got)), (2, 1))

    def test_tiny_interval(self) -> None:
        """An interval that is lost in the clock's precision still leaves the turn to the reactor."""
        address, got = self.recorder()
        self.clock.advance(1e12)
        timer = address.send_interval(1e-9, "tick")
        for _ in range(5):
            self.system.step()
        self.assertIsNotNone(timer.cancel())
        self.settle()
        self.assertLess(len(got), 10)
