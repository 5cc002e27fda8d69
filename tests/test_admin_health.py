"""Health: whether it lives, and whether clients should come."""

from __future__ import annotations

from typing import Any

from twisted.internet.testing import MemoryReactorClock, StringTransport

from echoactor import EchoFactory, Server, ServerOptions
from echoactor.admin.health import why_not_alive, why_not_ready
from echoactor.testing import ClockSystem

from .support import ActorTestCase, log_lines


class HealthTests(ActorTestCase):
    def setUp(self) -> None:
        self.clock: Any = MemoryReactorClock()
        self.system = ClockSystem(self.clock)
        self.server = Server(EchoFactory(self.system), ServerOptions(port=8080))
        self.server.setServiceParent(self.system)

    def test_life(self) -> None:
        """A system is ready while its server listens: not before, not while suspended, nor in a drain."""
        found = [why_not_ready(self.system)]
        self.system.startService()
        found.append(why_not_ready(self.system))
        self.server.suspend()
        found.append(why_not_ready(self.system))
        self.server.resume()
        found.append(why_not_ready(self.system))
        self.assertEqual(found, ["not started", None, "suspended", None])
        connection = self.server.factory.buildProtocol(None)
        connection.makeConnection(StringTransport())
        self.system.stopService()
        self.settle()
        self.assertEqual((why_not_ready(self.system), why_not_alive(self.system)), ("draining", None))
        connection.connectionLost()
        self.settle()

    def test_one_server_of_two(self) -> None:
        """One of several servers that stops for itself makes it not ready."""
        self.system.startService()
        connection = self.server.factory.buildProtocol(None)
        connection.makeConnection(StringTransport())
        self.server.drain()
        self.settle()
        found = [why_not_ready(self.system)]
        connection.connectionLost()
        self.settle()
        self.assertEqual([*found, why_not_ready(self.system)], ["draining", "closed"])

    def test_stopped(self) -> None:
        """A system that has stopped is not one that has yet to start."""
        self.system.startService()
        self.system.stopService()
        self.settle()
        self.assertEqual(why_not_ready(self.system), "draining")

    def test_port_lost(self) -> None:
        """A port that was lost makes it not ready."""
        self.system.startService()
        self.server._listeners[0].port = None
        self.assertEqual(why_not_ready(self.system), "closed")

    def test_without_servers(self) -> None:
        """A system of actors alone is ready while it runs."""
        system = ClockSystem(self.clock)
        system.startService()
        self.assertEqual((why_not_ready(system), why_not_alive(system)), (None, None))

    def test_supervisor(self) -> None:
        """A system whose top supervisor has ended is not alive."""
        lines = log_lines(self, "echoactor.system")
        self.system.startService()
        self.system.supervisor.exit("kill")
        self.settle()
        self.assertEqual(why_not_alive(self.system), "the top supervisor has ended")
        self.assertEqual(len(lines), 1)
