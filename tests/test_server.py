"""Opening and closing ports."""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from echoactor import EchoFactory, Listener
from echoactor.errors import ListenError

from .support import ActorTestCase


class Port:
    """A listening port that remembers being closed."""

    closed = False

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 8080)

    def stopListening(self) -> None:
        self.closed = True


class Endpoint:
    """An endpoint whose listen returns what it is given."""

    def __init__(self, result: Deferred[Any]) -> None:
        self.result = result
        self.listened = 0

    def listen(self, factory: object) -> Deferred[Any]:
        self.listened += 1
        return self.result


class ListenerTests(ActorTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.lines: list[str] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            if event.get("log_namespace") == "echoactor.server":
                self.lines.append(event["log_format"].format(**event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def listener(self, result: Deferred[Any]) -> Listener:
        self.endpoint = Endpoint(result)
        return Listener(self.endpoint, EchoFactory(self.system), "tcp:8080")  # type: ignore[arg-type]  # a stub

    def test_privileged(self) -> None:
        """The port is opened in privilegedStartService, once, and the log says where."""
        port = Port()
        listener = self.listener(succeed(port))
        listener.privilegedStartService()
        listener.startService()
        self.assertEqual((self.endpoint.listened, listener.port), (1, port))
        self.assertEqual(len(self.lines), 1)
        self.assertIn("listening on IPv4Address(type='TCP', host='127.0.0.1', port=8080)", self.lines[0])

    def test_unprivileged(self) -> None:
        """Where privilegedStartService is never called, startService opens the port."""
        listener = self.listener(succeed(Port()))
        listener.startService()
        self.assertEqual(self.endpoint.listened, 1)

    def test_stop(self) -> None:
        """Stopping closes the port; stopping what never started, or twice, does nothing."""
        port = Port()
        listener = self.listener(succeed(port))
        listener.stopService()
        listener.startService()
        listener.stopService()
        self.assertTrue(port.closed)
        self.assertIsNone(listener.stopService())

    def test_cannot_listen(self) -> None:
        """A port that cannot be opened raises one clear line, with the endpoint and the system's words."""
        cause = OSError(errno.EADDRINUSE, "Address already in use")
        for error in (CannotListenError("", 8080, cause), cause):
            with self.assertRaisesRegex(ListenError, "^cannot listen on tcp:8080: Address already in use$"):
                self.listener(fail(error)).privilegedStartService()

    def test_late_failure(self) -> None:
        """An endpoint that fails later is logged; a port that comes after the stop is closed at once."""
        pending: Deferred[Any] = Deferred()
        self.listener(pending).startService()
        pending.errback(OSError("too bad"))
        self.assertEqual(self.lines, ["cannot listen on tcp:8080: too bad"])
        pending, port = Deferred(), Port()
        listener = self.listener(pending)
        listener.startService()
        listener.stopService()
        pending.callback(port)
        self.assertEqual((port.closed, listener.port, len(self.lines)), (True, None, 1))

    def test_once(self) -> None:
        """A port that is open is not opened again, however often the service is started."""
        listener = self.listener(succeed(Port()))
        for start in (listener.startService, listener.privilegedStartService, listener.startService):
            start()
        self.assertEqual(self.endpoint.listened, 1)

    def test_again(self) -> None:
        """After a failure, starting the system again tries again."""
        listener = self.listener(fail(OSError("in use")))
        listener.setServiceParent(self.system)
        with self.assertRaises(ListenError):
            self.system.startService()
        self.endpoint.result = succeed(Port())
        self.system.startService()
        self.assertIsNotNone(listener.port)
