"""Where a server listens."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from echoactor import ServerOptions
from echoactor.endpoints import PortEndpoint, endpoint_of
from echoactor.gate import Gate

reactor: Any = global_reactor


class EndpointTests(SynchronousTestCase):
    def test_wrong(self) -> None:
        """A description that describes no endpoint raises one line that names it and says why."""
        for description, why in (
            ("nonsense:1", "Unknown endpoint type: 'nonsense'"),
            ("8080", "Unknown endpoint type"),
            ("ssl:1:privateKey=/nowhere", "/nowhere: No such file"),
            ("tcp", "its arguments do not fit its type"),
            ("tcp:x", "its arguments do not fit its type"),
            ("tcp6:::1:8080", "its arguments do not fit its type"),
            ("systemd:domain=INET:index=0", "no such socket was handed in"),
            ("", "endpoint"),
            (":", "endpoint"),
            ("stdio:", "no place where clients could come; an endpoint is written like tcp:8080"),
        ):
            with self.assertRaises(ValueError) as caught:
                endpoint_of(MemoryReactorClock(), description)
            line = str(caught.exception)
            self.assertTrue(line.startswith(f"{description!r} cannot be used: "), line)
            self.assertIn(why, line)
            self.assertIn("written like tcp:8080", line)
            self.assertNotIn("\n", line)

    def test_backlog(self) -> None:
        """A described endpoint has the backlog of the options, unless it says another, by name or place."""
        for description, wanted in (
            ("tcp:1", 7),
            ("tcp:1:interface=127.0.0.1", 7),
            ("tcp:1:127.0.0.1", 7),
            ("tcp:1:backlog=9", 9),
            ("tcp:1:127.0.0.1:9", 9),
            (r"tcp6:1:interface=\:\:1", 7),
            ("tcp6:1:9", 9),
            ("unix:/x", 7),
            ("unix:/x:600", 7),
            ("unix:/x:600:9", 9),
        ):
            endpoint: Any = endpoint_of(MemoryReactorClock(), description, 7)
            self.assertEqual(endpoint._backlog, wanted, description)
        described: Any = endpoint_of(MemoryReactorClock(), "tcp:1")
        self.assertEqual(described._backlog, 1024)

    def test_reuse_port(self) -> None:
        """With reuse_port two servers share a port; without it, the second cannot listen."""
        options = ServerOptions(interface="127.0.0.1", reuse_port=True)
        first: Any = self.successResultOf(PortEndpoint(reactor, 0, options).listen(Factory()))
        self.addCleanup(first.stopListening)
        number = first.getHost().port
        second = self.successResultOf(PortEndpoint(reactor, number, options).listen(Factory()))
        self.addCleanup(second.stopListening)
        alone = ServerOptions(interface="127.0.0.1")
        self.failureResultOf(PortEndpoint(reactor, number, alone).listen(Factory()), CannotListenError)

    def test_backlog_and_interface(self) -> None:
        """The port has the backlog and the interface of the options."""
        memory = MemoryReactorClock()
        PortEndpoint(memory, 7, ServerOptions(interface="127.0.0.1", backlog=5)).listen(Factory())
        [(port, _, backlog, interface)] = memory.tcpServers
        self.assertEqual((port, backlog, interface), (7, 5, "127.0.0.1"))
        self.assertEqual(Gate(ServerOptions()).room, 10_000)
