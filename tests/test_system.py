"""The system as a service, and its top supervisor."""

from __future__ import annotations

import gc
from typing import Any

from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from echoactor import Actor, ActorSystem, Address, ChildSpec, Exit, SupervisorSpec
from echoactor.cell import Cell
from echoactor.errors import SystemStopped
from echoactor.system import SHUTDOWN_TIME

from .support import ActorTestCase, Adder, Recorder, adder


class ServiceTests(ActorTestCase):
    def test_is_a_service(self) -> None:
        """An ActorSystem is an IService, whose name is the one given."""
        verifyObject(IService, self.system)
        self.assertEqual(self.system.name, "test")
        parent = MultiService()
        for _ in range(2):  # without a name, two of them may have the same parent
            ActorSystem(self.clock).setServiceParent(parent)

    def test_start(self) -> None:
        """Starting starts the services under it, once; starting a started system does nothing."""
        started: list[str] = []

        class Child(Service):
            def privilegedStartService(self) -> None:
                started.append("privileged")

            def startService(self) -> None:
                started.append("started")

        Child().setServiceParent(self.system)
        self.system.privilegedStartService()
        self.system.startService()
        self.system.startService()
        self.assertEqual(started, ["privileged", "started"])

    def test_stop_ends_actors(self) -> None:
        """Stopping ends all actors with shutdown, and fires when they are gone."""
        got: list[Any] = []
        for style in (Adder, adder):
            self.spawn(style)
        watcher = self.spawn(Recorder, got, True)
        stopped = self.system.stopService()
        self.assertNoResult(stopped)
        self.settle()
        self.assertEqual(got, [Exit(None, "shutdown")])
        self.assertNoResult(stopped)
        watcher.exit("kill")
        self.settle()
        self.successResultOf(stopped)
        self.assertEqual((self.system.count_actors(), self.clock.getDelayedCalls()), (0, []))

    def test_stop_kills_the_slow(self) -> None:
        """An actor that traps exits and does not end is killed after the shutdown time."""
        self.spawn(Recorder, [], True)
        stopped = self.system.stopService()
        self.pass_time(SHUTDOWN_TIME - 0.1)
        self.assertNoResult(stopped)
        self.pass_time(0.1)
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_services_stop_first(self) -> None:
        """The services under a system have stopped before its actors end."""
        gate: Deferred[None] = Deferred()

        class Slow(Service):
            def stopService(self) -> Deferred[None]:
                return gate

        Slow().setServiceParent(self.system)
        self.system.startService()
        address = self.spawn(Adder)
        stopped = self.system.stopService()
        self.settle()
        self.assertTrue(self.system.is_alive(address))
        gate.callback(None)
        self.settle()
        self.successResultOf(stopped)

    def test_service_that_fails_to_stop(self) -> None:
        """A service that fails to stop is logged, and the actors end all the same."""

        class Broken(Service):
            def stopService(self) -> None:
                raise ZeroDivisionError

        Broken().setServiceParent(self.system)
        stopped = self.system.stopService()
        self.settle()
        self.successResultOf(stopped)
        gc.collect()  # Twisted logs it when the service's Deferred is freed
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_stop_twice(self) -> None:
        """Stopping twice waits for the same end; stopping after it is done at once."""
        self.spawn(Adder)
        both = [self.system.stopService(), self.system.stopService()]
        self.settle()
        for stopped in (*both, self.system.stopService()):
            self.successResultOf(stopped)

    def test_stopped_stays_stopped(self) -> None:
        """A system that stops or has stopped starts and spawns nothing, and says so."""
        self.spawn(Recorder, [], True)
        stopped = self.system.stopService()
        for _ in range(2):
            for start in (
                self.system.startService,
                self.system.privilegedStartService,
                lambda: self.system.spawn(Adder),
            ):
                with self.assertRaisesRegex(SystemStopped, "stop"):
                    start()
            self.pass_time(SHUTDOWN_TIME)
        self.successResultOf(stopped)

    def test_waiting_calls(self) -> None:
        """Calls that wait when the system stops fail with the callee's end."""
        pending = self.spawn(Recorder, []).call("?", timeout=None)
        stopped = self.system.stopService()
        self.settle()
        self.assertEqual(self.failureResultOf(pending).value.reason, "shutdown")
        self.successResultOf(stopped)

    def test_terminate_may_send(self) -> None:
        """Actors that end while the system stops may send to those that still live."""
        got: list[Any] = []
        keeper = self.spawn(Recorder, got, True)

        class Last(Actor):
            def __init__(self) -> None:
                self.trap_exits = True

            def receive(self, message: Any) -> None:
                self.exit("shutdown")

            def terminate(self, reason: object) -> None:
                keeper.send(("last words", reason))

        self.spawn(Last)
        self.system.stopService()
        self.settle()
        self.assertIn(("last words", "shutdown"), got)
        self.pass_time(SHUTDOWN_TIME)

    def test_abort(self) -> None:
        """Abort kills all actors at once, also those that trap exits."""
        self.spawn(Recorder, [], True)
        stopped = self.system.stopService()
        self.settle()
        self.system.abort()
        self.settle()
        self.successResultOf(stopped)

    def test_100_000_actors(self) -> None:
        """100,000 actors can be spawned and stopped; nothing is left, no recursion, no time passes."""
        for number in range(100_000):
            self.system.spawn(Adder if number % 2 else adder)
        self.clock.advance(0)
        self.assertEqual(self.system.count_actors(), 100_000)
        stopped = self.system.stopService()
        self.clock.advance(0)
        self.successResultOf(stopped)
        gc.collect()
        left = [
            thing
            for thing in gc.get_objects()
            if (isinstance(thing, Cell) and thing.system is self.system)
            or (isinstance(thing, Address) and thing._system is self.system)
        ]
        self.assertEqual(left, [])

    def test_wrong_reactor(self) -> None:
        """A system without a reactor is refused."""
        with self.assertRaisesRegex(TypeError, "reactor: 'shop' is neither a reactor nor a task.Clock"):
            ActorSystem("shop")  # type: ignore[arg-type]  # the point


class TopSupervisorTests(ActorTestCase):
    def child(self, log: list[str], name: str) -> ChildSpec:
        class Child(Actor):
            def __init__(self) -> None:
                self.trap_exits = True

            def receive(self, message: Any) -> None:
                self.exit("shutdown")

            def terminate(self, reason: object) -> None:
                log.append(name)

        return ChildSpec(Child, id=name)

    def test_started_on_demand(self) -> None:
        """A program that needs no supervisor has none; its children restart by OTP's defaults."""
        self.assertEqual(self.system.count_actors(), 0)
        started = self.system.start_child(ChildSpec(Adder, name="total"))
        self.settle()
        before = self.successResultOf(started)
        self.assertEqual(self.system.count_actors(), 2)
        self.system.send("total", ZeroDivisionError())
        self.settle()
        self.assertNotIn(self.system.whereis("total"), (None, before))
        self.flushLoggedErrors(ZeroDivisionError)

    def test_nobodys_child(self) -> None:
        """Whoever asks for the top supervisor first is not its parent, whose exits it would obey."""

        class Asks(Actor):
            def receive(self, message: Any) -> None:
                if message == "ask":
                    self.system.start_child(ChildSpec(Adder))
                else:
                    self.system.supervisor.exit("shutdown")

        asks = self.spawn(Asks)
        for message in ("ask", "end it"):
            asks.send(message)
            self.settle()
        self.assertTrue(self.system.is_alive(self.system.supervisor))

    def test_tree_stops_first(self) -> None:
        """Stopping: services first, then the tree, last started first, then actors outside of it."""
        log: list[str] = []

        class Outside(Actor):
            def __init__(self) -> None:
                self.trap_exits = True

            def receive(self, message: Any) -> None:
                log.append("outside")
                self.exit("shutdown")

        class Under(Service):
            def stopService(self) -> None:
                log.append("service")

        self.spawn(Outside)
        Under().setServiceParent(self.system)
        for name in "ab":
            self.system.start_child(self.child(log, name))
            self.settle()
        self.system.startService()
        stopped = self.system.stopService()
        self.settle()
        self.successResultOf(stopped)
        self.assertEqual(log, ["service", "b", "a", "outside"])

    def test_restarts_while_services_stop(self) -> None:
        """While the services under it drain, the tree works on: what crashes is restarted."""
        gate: Deferred[None] = Deferred()

        class Slow(Service):
            def stopService(self) -> Deferred[None]:
                return gate

        Slow().setServiceParent(self.system)
        self.system.startService()
        self.system.start_child(ChildSpec(Adder, name="total"))
        stopped = self.system.stopService()
        self.settle()
        self.system.send("total", ZeroDivisionError())
        self.settle()
        self.assertIsNotNone(self.system.whereis("total"))
        self.flushLoggedErrors(ZeroDivisionError)
        gate.callback(None)
        self.settle()
        self.successResultOf(stopped)

    def test_given_spec(self) -> None:
        """The top supervisor may be given with its limits and children, which start with the service."""
        spec = SupervisorSpec([ChildSpec(Adder, name="total")], intensity=3)
        system = ActorSystem(self.clock, "shop", supervisor=spec)
        self.assertEqual(system.count_actors(), 0)
        system.startService()
        for _ in range(3):
            self.clock.advance(0)
            system.send("total", ZeroDivisionError())
        self.clock.advance(0)
        self.assertIsNotNone(system.whereis("total"))
        self.flushLoggedErrors(ZeroDivisionError)
        stopped = system.stopService()
        self.clock.advance(0)
        self.successResultOf(stopped)
        with self.assertRaises(SystemStopped):
            system.start_child(Adder)

    def test_escalation(self) -> None:
        """When the top supervisor gives up, that is logged, and the system stops."""
        self.system.start_child(ChildSpec(Adder, name="total"))
        self.settle()
        other = self.spawn(Adder)
        for _ in range(2):
            self.system.send("total", ZeroDivisionError())
            self.settle()
        self.flushLoggedErrors(ZeroDivisionError)
        self.assertFalse(self.system.is_alive(other))
        self.successResultOf(self.system.stopService())

    def test_abort(self) -> None:
        """Abort does not wait for the tree."""

        class Stubborn(Actor):
            def __init__(self) -> None:
                self.trap_exits = True

            def receive(self, message: Any) -> None: ...

        self.system.start_child(ChildSpec(Stubborn, shutdown=None))
        self.settle()
        stopped = self.system.stopService()
        self.pass_time(1e6)
        self.assertNoResult(stopped)
        self.system.abort()
        self.settle()
        self.successResultOf(stopped)
