"""The runtime's own messages and the exit reasons."""

from dataclasses import FrozenInstanceError

from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from echoactor import Call, Crash, Down, Exit, Shutdown, Timeout
from echoactor.messages import is_error


class CrashTests(SynchronousTestCase):
    def test_made_of_strings(self) -> None:
        """A crash reason says what happened in strings alone, so that it pins no frames."""
        try:
            dict[str, int]()["missing"]  # it raises
        except KeyError:
            crash = Crash.of(Failure())
        self.assertEqual((crash.type, crash.text), ("builtins.KeyError", "'missing'"))
        self.assertIn("test_made_of_strings", crash.traceback)
        for value in (crash.type, crash.text, crash.traceback):
            self.assertIs(type(value), str)

    def test_repr_is_short(self) -> None:
        """A printed crash has no traceback in it."""
        self.assertEqual(repr(Crash("ValueError", "bad", "Traceback\n…")), "Crash(ValueError: bad)")


class ReasonTests(SynchronousTestCase):
    def test_which_are_errors(self) -> None:
        """Normal and shutdown, with a detail too, are no errors; all else is."""
        for reason in ("normal", "shutdown", Shutdown("peer gone")):
            self.assertFalse(is_error(reason), reason)
        for error in ("killed", "noproc", None, 0, Crash("E", "", ""), ("shutdown",)):
            self.assertTrue(is_error(error), error)

    def test_reason_with_hostile_equality(self) -> None:
        """A reason whose comparison raises is classified all the same."""

        class Hostile:
            def __eq__(self, other: object) -> bool:
                raise ArithmeticError

            __hash__ = None  # type: ignore[assignment]  # as Python does it

        self.assertTrue(is_error(Hostile()))


class MatchTests(SynchronousTestCase):
    def test_positional_patterns(self) -> None:
        """The runtime's messages can be taken apart by position in a match."""
        match Call("request", print):
            case Call(request, reply):
                self.assertEqual((request, reply), ("request", print))
        match Exit(None, "boom"):
            case Exit(sender, reason):
                self.assertEqual((sender, reason), (None, "boom"))
        self.assertEqual(Down.__match_args__, ("monitor", "address", "reason"))

    def test_frozen(self) -> None:
        """A message cannot be changed on its way."""
        with self.assertRaises(FrozenInstanceError):
            Shutdown("a").detail = "b"  # type: ignore[misc]  # that is the test
        self.assertEqual(Timeout(), Timeout())
