"""The deadlines of a connection, on a Clock."""

from __future__ import annotations

from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.python.failure import Failure

from echoactor import ServerOptions, Shutdown
from echoactor.transport import ConnectionTransport

from .test_protocol import Patient, WireTestCase


class DeadlineTests(WireTestCase):
    """A handshake, then idleness, then the close."""

    def test_close_deadline(self) -> None:
        """A connection that does not close in time is aborted."""
        server = self.connect()
        server.dataReceived(b"exit")
        self.pass_time(ServerOptions().close_timeout - 1)
        self.assertFalse(self.wire.aborting)
        self.pass_time(1)
        self.assertTrue(self.wire.aborting)

    def test_idle(self) -> None:
        """A client that sends nothing for the idle timeout is closed, and the reason says so."""
        reasons = self.reasons()
        server = self.connect(options=ServerOptions(idle_timeout=100))
        self.pass_time(99)
        self.assertFalse(self.wire.disconnecting)
        self.pass_time(1)
        self.assertTrue(self.wire.disconnecting)
        server.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(reasons, [Shutdown("idle timeout")] * 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_not_idle(self) -> None:
        """The client's bytes begin the time anew; it is over after at most a quarter more."""
        server = self.connect(options=ServerOptions(idle_timeout=100))
        for _ in range(20):
            self.pass_time(95)
            server.dataReceived(b"x")
        self.pass_time(99.9)
        self.assertFalse(self.wire.disconnecting)
        self.pass_time(25.1)
        self.assertTrue(self.wire.disconnecting)

    def test_messages_do_not_keep_it(self) -> None:
        """Messages of other actors, and what is written, do not begin the time anew."""
        server = self.connect(options=ServerOptions(idle_timeout=100))
        for _ in range(4):
            self.pass_time(25)
            server.address.send(("do", lambda server: server.transport.write(b"news")))
        self.assertTrue(self.wire.disconnecting)

    def test_held_back_is_not_idle(self) -> None:
        """A client that is not read from, because its actor is busy or wants it so, is not idle."""
        options = ServerOptions(idle_timeout=100)
        busy = self.connect(Patient, options=options)
        busy.dataReceived(b"work")
        busy.dataReceived(b"more")
        self.pass_time(1000)
        self.assertFalse(self.wire.disconnecting)
        self.connect(options=options).transport.pauseProducing()
        self.pass_time(1000)
        self.assertFalse(self.wire.disconnecting)

    def test_never_idle(self) -> None:
        """Without an idle timeout a silent client stays for ever, and no timer runs."""
        self.connect(options=ServerOptions(idle_timeout=None))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_handshake_timeout(self) -> None:
        """A client has so long for its TLS handshake, and then may be idle as others may."""
        options = ServerOptions(handshake_timeout=5, idle_timeout=100)
        for finished in (False, True):
            reasons = self.reasons()
            self.patch(ConnectionTransport, "in_handshake", lambda _: True)
            server = self.connect(options=options)
            self.pass_time(4)
            if finished:
                server.handshakeCompleted()
            self.pass_time(2)
            self.assertEqual(self.wire.aborting, not finished)
            if not finished:
                server.connectionLost(Failure(ConnectionAborted()))
                self.assertEqual(reasons, [Shutdown("handshake timeout")] * 2)
            else:
                self.pass_time(98)
                self.assertTrue(self.wire.disconnecting)

    def test_late_handshake(self) -> None:
        """A handshake that ends while the connection closes does not take its deadline away."""
        server = self.connect()
        server.dataReceived(b"exit")
        server.handshakeCompleted()
        self.pass_time(ServerOptions().close_timeout)
        self.assertTrue(self.wire.aborting)

    def test_no_work_for_each_message(self) -> None:
        """A busy connection arms no timer for a message."""
        server = self.connect(options=ServerOptions(idle_timeout=100))
        timers = self.system.timers
        before = timers._count
        for _ in range(1000):
            server.dataReceived(b"x")
        self.assertEqual(timers._count, before)
