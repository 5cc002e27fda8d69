"""Specs say what is wrong with them where they are written down."""

from __future__ import annotations

from typing import Any

from twisted.application.service import Service
from twisted.trial.unittest import SynchronousTestCase

from echoactor import (
    BackOff,
    ChildSpec,
    DynamicSupervisor,
    DynamicSupervisorSpec,
    MailboxBound,
    Supervisor,
    SupervisorSpec,
)
from echoactor.errors import ActorError, SpecError

from .support import Adder, adder


class ChildSpecTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        """A child is permanent, has five seconds to stop, and the name of its class for an id."""
        spec = ChildSpec(Adder, 10)
        self.assertEqual((spec.start, spec.args, spec.id, spec.name), (Adder, (10,), "Adder", None))
        self.assertEqual((spec.restart, spec.shutdown, spec.significant), ("permanent", 5.0, False))

    def test_supervisors_take_any_time(self) -> None:
        """Supervisors have no limit to their shutdown, unless one is given."""
        for start, args in (
            (SupervisorSpec(), ()),
            (Supervisor, (SupervisorSpec(),)),
            (DynamicSupervisor, ()),
        ):
            self.assertIsNone(ChildSpec(start, *args).shutdown)
            self.assertEqual(ChildSpec(start, *args, shutdown=1).shutdown, 1)

    def test_of(self) -> None:
        """Whatever can be started makes a spec, and a spec is one."""
        spec = ChildSpec(adder)
        self.assertIs(ChildSpec.of(spec), spec)
        for start in (adder, Adder, SupervisorSpec(), Service()):
            self.assertIs(ChildSpec.of(start).start, start)

    def wrong(self, text: str, *args: Any, **options: Any) -> None:
        with self.assertRaisesRegex(SpecError, text):
            ChildSpec(*args, **options)

    def test_wrong_fields(self) -> None:
        """A field that is wrong is named, with what would be right."""
        self.wrong(
            "start: 5 is not an Actor class, a coroutine function, the spec of a supervisor, or an IService",
            5,
        )
        self.wrong("start: <function .*> is not an Actor class", lambda me: None)
        self.wrong("args: .1,. are for an Actor class", Service(), 1)
        legal = "'permanent', 'transient', 'temporary'"
        self.wrong(f"restart: 'permament' is none of {legal}", Adder, restart="permament")
        for shutdown in (-1, "5", True, float("inf"), "brutal"):
            self.wrong(
                f"shutdown: {shutdown!r} is not a number of seconds >= 0, None .any time. or 'brutal_kill'",
                Adder,
                shutdown=shutdown,
            )
        self.wrong("significant: .* 'transient' or 'temporary'", Adder, significant=True)
        self.wrong("id: .* is not hashable", Adder, id=[])
        self.wrong("name: '' is empty", Adder, name="")
        self.wrong("name: 5 is not a string", Adder, name=5)
        self.wrong("mailbox: 5 is neither a MailboxBound nor None", Adder, mailbox=5)
        self.wrong("mailbox: a supervisor's has no bound", SupervisorSpec(), mailbox=MailboxBound(5))
        self.assertTrue(issubclass(SpecError, ActorError))
        self.assertTrue(issubclass(SpecError, ValueError))


class SupervisorSpecTests(SynchronousTestCase):
    def wrong(self, text: str, *args: Any, **options: Any) -> None:
        with self.assertRaisesRegex(SpecError, text):
            SupervisorSpec(*args, **options)

    def test_defaults(self) -> None:
        """OTP's defaults: one_for_one, one restart in five seconds, no auto-shutdown; no back-off."""
        spec = SupervisorSpec()
        self.assertEqual((spec.strategy, spec.intensity, spec.period), ("one_for_one", 1, 5.0))
        self.assertEqual((spec.auto_shutdown, spec.back_off, spec.children), ("never", None, ()))

    def test_wrong_fields(self) -> None:
        """A field that is wrong is named, with what would be right."""
        legal = "'one_for_one', 'one_for_all', 'rest_for_one'"
        self.wrong(f"strategy: 'one_for_two' is none of {legal}", strategy="one_for_two")
        for intensity in (-1, 1.5, "1", None, True):
            self.wrong(f"intensity: {intensity!r} is not an integer >= 0", intensity=intensity)
        for period in (0, -1, None, "5"):
            self.wrong(f"period: {period!r} is not a number of seconds > 0", period=period)
        self.wrong(
            "auto_shutdown: 'any' is none of 'never', 'any_significant', 'all_significant'",
            auto_shutdown="any",
        )
        self.wrong("back_off: 5 is neither a BackOff nor None", back_off=5)
        self.wrong("start: 'Adder' is not", ["Adder"])
        self.wrong("children: .* is not a list of children", ChildSpec(Adder))

    def test_duplicate_ids(self) -> None:
        """Two children of one id are refused."""
        self.wrong("id: two children have the id 'Adder'", [Adder, ChildSpec(Adder, 10)])
        SupervisorSpec([Adder, ChildSpec(Adder, 10, id="ten")])

    def test_significant_under_never(self) -> None:
        """39: A significant child is refused under auto_shutdown never."""
        child = ChildSpec(Adder, restart="transient", significant=True)
        self.wrong("significant: the child 'Adder' can be none with auto_shutdown='never'", [child])
        SupervisorSpec([child], auto_shutdown="any_significant")


class DynamicSupervisorSpecTests(SynchronousTestCase):
    def test_wrong_fields(self) -> None:
        """A field that is wrong is named, with what would be right."""
        with self.assertRaisesRegex(SpecError, "max_children: -1 is not an integer >= 0"):
            DynamicSupervisorSpec(max_children=-1)
        with self.assertRaisesRegex(SpecError, "intensity: -1 is not an integer >= 0"):
            DynamicSupervisorSpec(intensity=-1)


class BackOffTests(SynchronousTestCase):
    def test_delays(self) -> None:
        """Delays grow by the factor, up to the longest; no number of restarts is too large."""
        back_off = BackOff(0.5, 2.0, 3.0)
        self.assertEqual([back_off.delay(number) for number in range(1, 6)], [0.5, 1.0, 2.0, 3.0, 3.0])
        self.assertEqual(back_off.delay(100_000), 3.0)

    def test_wrong_fields(self) -> None:
        """A field that is wrong is named, with what would be right."""
        for field, value, text in (
            ("first", 0, "seconds > 0"),
            ("longest", -1, "seconds > 0"),
            ("factor", 0.5, "a number >= 1"),
        ):
            with self.assertRaisesRegex(SpecError, f"{field}: {value!r} is not .*{text}"):
                BackOff(**{field: value})
