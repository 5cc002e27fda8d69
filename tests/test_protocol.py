"""A connection is an actor."""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory
from twisted.internet.testing import StringTransport, StringTransportWithDisconnection
from twisted.protocols.wire import Echo
from twisted.python.failure import Failure

from echoactor import (
    Actor,
    ActorFactory,
    ActorProtocol,
    Address,
    Call,
    Down,
    EchoFactory,
    EchoProtocol,
    EndOfInput,
    Shutdown,
)
from echoactor.connection import MAILBOX_LIMIT
from echoactor.errors import CalleeExited, NotAnActor
from echoactor.events import (
    ActorEnded,
    ActorSpawned,
    ConnectionClosed,
    ConnectionOpened,
    ConnectionReady,
    ConnectionRefused,
)
from echoactor.options import ServerOptions
from echoactor.testing import ClockSystem

from .support import ActorTestCase, ConnectionTestCase, Recorder


class Protocol(ActorProtocol):
    """Records what it receives, and does what it is told."""

    def __init__(self) -> None:
        self.log: list[Any] = []

    def connectionMade(self) -> None:
        self.log.append("made")

    def receive(self, message: Any) -> Any:
        self.log.append(message)
        match message:
            case b"crash":
                raise ZeroDivisionError
            case b"exit":
                self.transport.write(b"bye")
                self.exit()
            case ("do", action):
                return action(self)

    def terminate(self, reason: object) -> None:
        self.log.append(("terminate", reason))


class Patient(ActorProtocol):
    """Awaits a Deferred for each message."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.gate: Deferred[None] = Deferred()

    async def receive(self, message: Any) -> None:
        self.log.append(message)
        await self.gate
        self.log.append("done")


class Wire(StringTransport):
    """A transport that remembers an abort."""

    aborting = False

    def abortConnection(self) -> None:
        self.aborting = self.disconnecting = True


class WireTestCase(ActorTestCase):
    """Connections on test transports."""

    def connect(
        self, protocol: Any = Protocol, transport: Any = None, options: ServerOptions | None = None
    ) -> Any:
        factory = ActorFactory(self.system)
        factory.protocol = protocol
        if options is not None:
            factory.use(options)
        built: Any = factory.buildProtocol(None)
        self.wire: Any = Wire() if transport is None else transport
        built.makeConnection(self.wire)
        return built

    def reasons(self) -> list[Any]:
        """Why actors and connections end from now on."""
        reasons: list[Any] = []
        self.system.events.subscribe(ActorEnded, lambda event: reasons.append(event.reason))
        self.system.events.subscribe(ConnectionClosed, lambda event: reasons.append(event.reason))
        return reasons


class ConnectionTests(WireTestCase):
    """What a connection actor is, in order of its life."""

    def test_bytes_are_messages(self) -> None:
        """What the peer sends is received as bytes, after connectionMade, in order."""
        server = self.connect()
        server.dataReceived(b"one")
        server.dataReceived(b"two")
        self.assertEqual(server.log, ["made", b"one", b"two"])

    def test_delivered_at_once(self) -> None:
        """With nothing ahead, the reactor's bytes are handled within its call, and schedule nothing."""
        server = self.connect()
        scheduled = self.clock.getDelayedCalls()
        server.dataReceived(b"one")
        self.assertEqual((server.log[-1], self.clock.getDelayedCalls()), (b"one", scheduled))

    def test_queued_behind_messages(self) -> None:
        """Bytes that come after a message to the connection are handled after it."""
        server = self.connect()
        server.address.send("message")
        server.dataReceived(b"bytes")
        self.assertEqual(server.log, ["made"])
        self.settle()
        self.assertEqual(server.log, ["made", "message", b"bytes"])

    def test_queued_while_another_is_current(self) -> None:
        """Bytes handed over inside some actor's step wait for the run queue."""
        server = self.connect()
        log = server.log

        class Feeds(Recorder):
            def receive(self, message: Any) -> None:
                server.dataReceived(b"fed")
                log.append("fed it")

        self.spawn(Feeds, []).send("go")
        self.settle()
        self.assertEqual(log, ["made", "fed it", b"fed"])

    def test_queued_in_a_simulation(self) -> None:
        """With a run queue of the user's, nothing is delivered at once."""
        self.system.delivers_at_once = False
        server = self.connect()
        server.dataReceived(b"one")
        self.assertEqual(server.log, [])
        self.settle()
        self.assertEqual(server.log, ["made", b"one"])

    def test_not_reentered(self) -> None:
        """A transport that calls back inside write or loseConnection does not re-enter the actor."""
        server = self.connect(transport=StringTransportWithDisconnection())
        self.wire.protocol = server
        log = server.log

        def act(me: Any) -> None:
            me.dataReceived(b"nested")
            me.transport.loseConnection()  # this transport calls connectionLost at once
            log.append("step over")

        server.address.send(("do", act))
        self.settle()
        self.assertEqual(log[2:], ["step over", b"nested", ("terminate", "normal")])

    def test_others_send(self) -> None:
        """Other actors send to a connection's address, and call it."""
        server = self.connect()
        server.address.send(("do", lambda me: me.transport.write(b"for the peer")))
        pending = server.address.call("question")
        self.settle()
        self.assertEqual(self.wire.value(), b"for the peer")
        self.assertIsInstance(server.log[-1], Call)
        server.log[-1].reply("answer")
        self.settle()
        self.assertEqual(self.successResultOf(pending), "answer")

    def test_forged_bytes(self) -> None:
        """Bytes or an end of input from another actor do not pass for the peer's: they are dead letters."""
        server = self.connect()
        for forged in (b"forged", EndOfInput()):
            server.address.send(forged)
        self.settle()
        self.assertEqual((server.log, self.system.dead_letters), (["made"], 2))

    def test_crash(self) -> None:
        """A crash ends that connection alone, aborts it, and is logged once."""
        server, wire = self.connect(), self.wire
        other = self.connect()
        server.dataReceived(b"crash")
        self.assertTrue(wire.aborting)
        self.assertFalse(self.system.is_alive(server.address))
        other.dataReceived(b"fine")
        self.assertEqual(other.log, ["made", b"fine"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_crash_in_connection_made(self) -> None:
        """A crash in connectionMade aborts the connection, and no byte is handled after it."""

        class Broken(Protocol):
            def connectionMade(self) -> None:
                raise ZeroDivisionError

        server = self.connect(Broken)
        self.assertTrue(self.wire.aborting)
        server.dataReceived(b"late")
        self.settle()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertNotIn(b"late", server.log)

    def test_exit_closes(self) -> None:
        """An actor that exits normally closes its connection after what it wrote."""
        server = self.connect()
        server.dataReceived(b"exit")
        self.assertEqual((self.wire.value(), self.wire.disconnecting), (b"bye", True))
        self.assertEqual(server.log[-1], ("terminate", "normal"))

    def test_kill_aborts(self) -> None:
        """A killed connection is aborted; one that is shut down closes after what it wrote."""
        for reason, aborted in (("kill", True), ("shutdown", False)):
            server = self.connect()
            server.address.exit(reason)
            self.settle()
            self.assertEqual(self.wire.aborting, aborted)
            self.assertEqual(self.wire.disconnecting, True)

    def test_counted(self) -> None:
        """A factory counts its connections, refuses those too many, and its gate hears of each end."""
        factory = ActorFactory(self.system)
        factory.protocol = Protocol
        factory.use(ServerOptions(max_connections=1))
        refusals: list[Any] = []
        self.system.events.subscribe(ConnectionRefused, refusals.append)
        first: Any = factory.buildProtocol(None)
        first.makeConnection(Wire())
        peer = IPv4Address("TCP", "192.0.2.1", 1)
        second: Any = factory.buildProtocol(peer)
        wire = Wire()
        second.makeConnection(wire)
        self.assertEqual((wire.aborting, factory.gate.count), (True, 1))
        self.assertEqual(refusals, [ConnectionRefused(peer, "too many connections")])
        first.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(factory.gate.count, 0)

    def test_closed_in_time(self) -> None:
        """A connection that closes in time leaves no timer."""
        server = self.connect()
        server.dataReceived(b"exit")
        server.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_ends_with_the_connection(self) -> None:
        """A clean close is a normal end, any other a shutdown with the detail; never a crash report."""
        reasons: list[Any] = []
        self.system.events.subscribe(ActorEnded, lambda event: reasons.append(event.reason))
        for error in (ConnectionDone(), ConnectionResetError("reset by peer")):
            server = self.connect()
            server.connectionLost(Failure(error))
        self.assertEqual(reasons, ["normal", Shutdown("reset by peer")])
        self.assertEqual(server.log, ["made", ("terminate", Shutdown("reset by peer"))])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lost_after_the_bytes(self) -> None:
        """Bytes that came before the end of the connection are handled before the actor ends."""
        server = self.connect()
        server.address.send("first")
        server.dataReceived(b"last bytes")
        server.connectionLost(Failure(ConnectionDone()))
        self.settle()
        self.assertEqual(server.log, ["made", "first", b"last bytes", ("terminate", "normal")])

    def test_bytes_after_the_end(self) -> None:
        """What a transport hands over after the actor or the connection has ended is ignored."""
        server = self.connect()
        server.dataReceived(b"exit")
        log = list(server.log)
        server.dataReceived(b"late")
        server.readConnectionLost()
        server.connectionLost(Failure(ConnectionDone()))
        server.dataReceived(b"later")
        self.settle()
        self.assertEqual((server.log, self.system.dead_letters), (log, 0))

    def test_monitored(self) -> None:
        """Other actors can monitor and link a connection like any actor."""
        server = self.connect()
        got: list[Any] = []

        class Watches(Recorder):
            def __init__(self, target: Address) -> None:
                super().__init__(got)
                self.monitor(target)

        self.spawn(Watches, server.address)
        server.connectionLost(Failure(ConnectionDone()))
        self.settle()
        self.assertEqual([(type(down), down.reason) for down in got], [(Down, "normal")])

    def test_pending_call(self) -> None:
        """A call to a connection that goes fails with its end."""
        server = self.connect()
        pending = server.address.call("?")
        self.settle()
        server.connectionLost(Failure(ConnectionResetError("reset")))
        self.settle()
        self.assertEqual(self.failureResultOf(pending, CalleeExited).value.reason, Shutdown("reset"))

    def test_events(self) -> None:
        """Opening, readiness and closing are events, with address, peer, what was taken, and the reason."""
        heard: list[Any] = []
        for kind in (ConnectionOpened, ConnectionReady, ConnectionClosed):
            self.system.events.subscribe(kind, heard.append)
        server = self.connect()
        server.dataReceived(b"hello")
        self.clock.advance(3)
        server.connectionLost(Failure(ConnectionDone()))
        [*begin, closed] = heard
        one = (server.address, self.wire.getPeer())
        self.assertEqual(begin, [ConnectionOpened(*one), ConnectionReady(*one, None)])
        self.assertEqual((closed.address, closed.peer, closed.reason, closed.tls), (*one, "normal", None))
        self.assertEqual((closed.messages_in, closed.duration), (1, 3.0))

    def test_first_step(self) -> None:
        """connectionMade is the first step, also when those who hear of the connection send to it at once."""

        def welcome(event: Any) -> None:
            event.address.send("welcome")

        self.system.events.subscribe(ActorSpawned, welcome)
        self.system.events.subscribe(ConnectionOpened, welcome)
        server = self.connect()
        self.settle()
        self.assertEqual(server.log, ["made", "welcome", "welcome"])

    def test_first_step_of_one_made_by_an_actor(self) -> None:
        """The same, where an actor is current: nothing is lost, and connectionMade is first."""
        for text in ("welcome 0", "welcome 1"):

            def welcome(event: ActorSpawned, text: str = text) -> None:
                event.address.send(text)

            self.system.events.subscribe(ActorSpawned, welcome)
        servers: list[Any] = []

        class Connects(Recorder):
            def receive(self, message: Any) -> None:
                if message == "connect":
                    servers.append(connect())
                    servers[0].address.send("later")

        connect = self.connect
        self.spawn(Connects, []).send("connect")
        self.settle()
        self.assertEqual(servers[0].log, ["made", "welcome 0", "welcome 1", "later"])

    def test_listener_that_quits(self) -> None:
        """SystemExit of who hears of it passes on, and the connection keeps no stop from its end."""

        def quit(event: ActorSpawned) -> None:
            raise SystemExit

        self.system.events.subscribe(ActorSpawned, quit)
        self.assertRaises(SystemExit, self.connect)
        stopped = self.system.stopService()
        self.settle()
        self.successResultOf(stopped)
        self.assertEqual(self.system.count_actors(), 0)

    def test_no_peer(self) -> None:
        """A transport without addresses, such as a pipe's, is one like any other."""

        class Pipe(Wire):
            def getPeer(self) -> Any:
                raise NotImplementedError  # as Twisted's process transport does

        peers: list[Any] = []
        self.system.events.subscribe(ConnectionOpened, lambda event: peers.append(event.peer))
        self.system.events.subscribe(ConnectionClosed, lambda event: peers.append(event.peer))
        self.connect(transport=Pipe()).connectionLost(Failure(ConnectionDone()))
        stopped = self.system.stopService()
        self.settle()
        self.successResultOf(stopped)
        self.assertEqual(peers, [None, None])

    def test_another_peer_in_the_end(self) -> None:
        """A place of an address is given back, whatever the transport calls its peer by then."""
        options = ServerOptions(max_connections_per_address=1)
        factory = EchoFactory(self.system)
        factory.use(options)
        for number in range(3):
            proxy, client = (IPv4Address("TCP", f"192.0.2.{last}", number) for last in (1, 2))
            protocol: Any = factory.buildProtocol(proxy)
            self.assertIsInstance(protocol, EchoProtocol)
            transport = StringTransport(peerAddress=proxy)
            protocol.makeConnection(transport)
            transport.peerAddr = client
            protocol.connectionLost(Failure(ConnectionDone()))
            self.assertEqual(factory.gate.count, 0)

    def test_makes_something_else(self) -> None:
        """A factory that makes no ActorProtocol is told so, and counts nobody."""
        factory = ActorFactory(self.system)
        factory.protocol = Echo  # type: ignore[assignment]  # that is the test
        with self.assertRaisesRegex(TypeError, "which is no ActorProtocol"):
            factory.buildProtocol(None)
        self.assertEqual(factory.gate.count, 0)

    def test_starts_at_once(self) -> None:
        """One whose coroutine has nothing to wait for has started, and is terminated in the end."""
        log: list[Any] = []

        class Starts(ActorProtocol):
            async def connectionMade(self) -> None:
                await succeed(None)

            def receive(self, message: Any) -> None:
                log.append(message)

            def terminate(self, reason: object) -> None:
                log.append(reason)

        self.connect(Starts).connectionLost(Failure(ConnectionDone()))
        self.settle()
        self.assertEqual(log, ["normal"])

    def test_cannot_start(self) -> None:
        """A connection that cannot start is not terminated, as another actor is not."""

        class Broken(ActorProtocol):
            awaits = False

            def connectionMade(self) -> Any:
                if not self.awaits:
                    raise ZeroDivisionError
                return self.connection_made()

            async def connection_made(self) -> None:
                await succeed(None)
                raise ZeroDivisionError

            def receive(self, message: Any) -> None: ...

            def terminate(self, reason: object) -> None:
                raise ValueError("it has not started")

        class Awaits(Broken):
            awaits = True

        for kind in (Broken, Awaits):
            factory = ActorFactory(self.system)
            factory.protocol = kind
            protocol: Any = factory.buildProtocol(None)
            protocol.makeConnection(StringTransport())
            self.settle()
            self.assertEqual(self.system.count_actors(), 0)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_quits_at_the_end(self) -> None:
        """SystemExit of a terminate or a listener passes on, and the connection has ended all the same."""

        class Quits(ActorProtocol):
            def receive(self, message: Any) -> None: ...

            def terminate(self, reason: object) -> None:
                raise SystemExit

        def quits(event: ConnectionClosed) -> None:
            raise SystemExit

        self.check_quits(Quits)
        self.system = ClockSystem(self.clock)
        self.system.events.subscribe(ConnectionClosed, quits)
        self.check_quits(Protocol)

    def check_quits(self, kind: type[ActorProtocol]) -> None:
        factory = ActorFactory(self.system)
        factory.protocol = kind
        protocol: Any = factory.buildProtocol(None)
        protocol.makeConnection(StringTransport())
        self.assertRaises(SystemExit, protocol.connectionLost, Failure(ConnectionLost()))
        self.flushLoggedErrors(SystemExit)
        self.assertEqual(factory.gate.count, 0)
        stopped = self.system.stopService()
        self.settle()
        self.successResultOf(stopped)

    def test_reset_at_once(self) -> None:
        """A connection whose socket takes no option any more, as it was reset, ends as others do."""

        class Reset(StringTransport):
            def setTcpNoDelay(self, enabled: bool) -> None:
                raise OSError(errno.EINVAL, "Invalid argument")

        factory = EchoFactory(self.system)
        protocol: Any = factory.buildProtocol(None)
        protocol.makeConnection(Reset())
        protocol.connectionLost(Failure(ConnectionLost()))
        self.settle()
        self.assertEqual((self.system.count_actors(), factory.gate.count), (0, 0))

    def test_killed_at_once(self) -> None:
        """A connection that somebody kills when hearing of it is gone."""
        self.system.events.subscribe(ActorSpawned, lambda event: event.address.exit("kill"))
        server = self.connect()
        self.settle()
        self.assertFalse(self.system.is_alive(server.address))
        self.assertTrue(self.wire.disconnected or self.wire.disconnecting)

    def test_hooks_have_no_common_names(self) -> None:
        """A user's attributes may have any name without an underscore pair or actor_ in front."""

        class Plain(Actor):
            def __init__(self) -> None:
                self._cell = self._ended = self._awaited = self._awaits = self._connection = 0

            async def receive(self, message: Any) -> None:
                await succeed(None)

        address = self.spawn(Plain)
        address.send(1)
        self.settle()
        self.assertTrue(self.system.is_alive(address))
        address.exit("shutdown")
        self.settle()

    def test_not_spawned(self) -> None:
        """A protocol class cannot be spawned, and cannot be made by another factory."""
        with self.assertRaisesRegex(NotAnActor, "ActorFactory"):
            self.system.spawn(EchoProtocol)
        protocol: Any = Factory.forProtocol(EchoProtocol).buildProtocol(None)
        with self.assertRaisesRegex(TypeError, "must be made by an ActorFactory"):
            protocol.makeConnection(StringTransport())

    def test_needs_receive(self) -> None:
        """A protocol without receive crashes with an explanation."""
        self.connect(ActorProtocol).dataReceived(b"x")
        [failure] = self.flushLoggedErrors(NotImplementedError)
        self.assertIn("ActorProtocol needs a method receive", failure.getErrorMessage())

    def test_refused_while_stopping(self) -> None:
        """A factory of a system that stops or has stopped aborts new connections."""
        stopped = self.system.stopService()
        for _ in range(2):
            wire = Wire()
            EchoFactory(self.system).buildProtocol(None).makeConnection(wire)
            self.assertTrue(wire.aborting)
            self.settle()
        self.successResultOf(stopped)

    def test_stop_waits_for_connections(self) -> None:
        """The system has stopped when its connections are gone, and aborts them when told to hurry."""
        server = self.connect()
        stopped = self.system.stopService()
        self.settle()
        self.assertTrue(self.wire.disconnecting)
        self.assertNoResult(stopped)
        self.system.abort()
        self.assertTrue(self.wire.aborting)
        server.connectionLost(Failure(ConnectionDone()))
        self.settle()
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_interfaces(self) -> None:
        """A connection actor is half-closeable."""
        self.assertTrue(IHalfCloseableProtocol.providedBy(self.connect()))


class AwaitingTests(WireTestCase):
    """Connections whose receive awaits."""

    def test_reading_stops(self) -> None:
        """While receive awaits, nothing is read; afterwards it is again."""
        server = self.connect(Patient)
        server.dataReceived(b"one")
        self.assertEqual(self.wire.producerState, "paused")
        server.gate.callback(None)
        self.settle()
        self.assertEqual((server.log, self.wire.producerState), ([b"one", "done"], "producing"))

    def test_end_of_input_waits(self) -> None:
        """The end of input comes after the bytes before it, and closes when receive is done with it."""
        server = self.connect(Patient)
        server.dataReceived(b"one")
        server.readConnectionLost()
        self.settle()
        self.assertEqual(server.log, [b"one"])
        server.gate.callback(None)
        self.settle()
        self.assertEqual(server.log, [b"one", "done", EndOfInput(), "done"])
        self.assertTrue(self.wire.disconnecting)

    def test_reads_on_while_it_closes(self) -> None:
        """An actor that ends while it awaits reads on, for TLS closes when it has read the peer's consent."""
        for reason in ("shutdown", "normal"):

            class Leaves(Patient):
                async def receive(self, message: Any) -> None:
                    await self.gate
                    self.exit("normal")

            server = self.connect(Leaves)
            server.dataReceived(b"one")
            self.assertEqual(self.wire.producerState, "paused")
            if reason == "normal":
                server.gate.callback(None)
            else:
                server.address.exit(reason)
            self.settle()
            self.assertEqual((self.wire.producerState, self.wire.disconnecting), ("producing", True))

    def test_ended_while_it_awaits(self) -> None:
        """A connection lost while receive awaits ends when that is done; a killed one, at once."""
        server = self.connect(Patient)
        server.dataReceived(b"one")
        server.connectionLost(Failure(ConnectionDone()))
        self.settle()
        self.assertTrue(self.system.is_alive(server.address))
        server.gate.callback(None)
        self.settle()
        self.assertFalse(self.system.is_alive(server.address))
        server = self.connect(Patient)
        server.dataReceived(b"one")
        server.address.exit("kill")
        self.settle()
        self.assertTrue(self.wire.aborting)


class AsyncTerminateTests(WireTestCase):
    def test_transport_stays_open(self) -> None:
        """An async terminate is awaited with the transport still open, and can write."""
        gate: Deferred[None] = Deferred()

        class Polite(Protocol):
            async def terminate(self, reason: object) -> None:  # type: ignore[override]  # it may
                await gate
                self.transport.write(b", bye")

        server = self.connect(Polite)
        server.dataReceived(b"exit")
        self.settle()
        self.assertEqual((self.wire.value(), self.wire.disconnecting), (b"bye", False))
        gate.callback(None)
        self.settle()
        self.assertEqual((self.wire.value(), self.wire.disconnecting), (b"bye, bye", True))

    def test_peer_goes_meanwhile(self) -> None:
        """A connection that is lost while its terminate awaits ends as it was going to."""
        gate: Deferred[None] = Deferred()

        class Polite(Protocol):
            async def terminate(self, reason: object) -> None:  # type: ignore[override]  # it may
                await gate

        server = self.connect(Polite)
        server.dataReceived(b"exit")
        server.dataReceived(b"more")
        server.connectionLost()
        self.settle()
        self.assertTrue(self.system.is_alive(server.address))
        gate.callback(None)
        self.settle()
        self.assertEqual((self.system.count_actors(), self.clock.getDelayedCalls()), (0, []))
        self.assertNotIn(b"more", server.log)


class KindTests(WireTestCase):
    def test_kind(self) -> None:
        """Looking inside shows a connection under its protocol's name."""
        server = self.connect()
        info = self.system.info(server.address)
        assert info is not None
        self.assertEqual(
            (info.kind, str(self.system.tree())[5:]), ("Protocol", f"└── Protocol {server.address}")
        )


class MailboxLimitTests(WireTestCase):
    def test_full_mailbox(self) -> None:
        """With more than 64 KiB of the peer's bytes in the mailbox nothing is read, until fewer wait."""
        server = self.connect()
        server.address.send("ahead")
        server.dataReceived(bytes(MAILBOX_LIMIT))
        self.assertEqual(self.wire.producerState, "producing")
        server.dataReceived(b"x")
        self.assertEqual(self.wire.producerState, "paused")
        self.settle()
        self.assertEqual(self.wire.producerState, "producing")


class HalfCloseTests(ConnectionTestCase):
    def test_everything_comes_back(self) -> None:
        """A client that sends and half-closes gets every byte back, then the end; also when it reads late."""
        data = bytes(range(256)) * 200
        client = self.connect(EchoProtocol)
        client.sendall(data)
        client.shutdown(1)
        self.assertEqual(self.read_all(client), data)
        self.poll()
        self.assertEqual((self.system.count_actors(), self.clock.getDelayedCalls()), (0, []))

    def test_under_backpressure(self) -> None:
        """Half-close while the way back is full loses nothing, and the end of input comes once."""
        client = self.connect(EchoProtocol)
        sent = self.send_much(client, b"x" * 4096, 1000)
        client.shutdown(1)
        self.assertEqual(len(self.read_all(client)), sent)

    def test_allow_half_open(self) -> None:
        """A protocol that allows half-open connections goes on after the end of input, until it exits."""

        class Late(Protocol):
            allow_half_open = True

        client = self.connect(Late)
        client.shutdown(1)
        self.poll()
        server: Any = self.server
        self.assertEqual(server.log, ["made", EndOfInput()])
        self.assertNotIn(self.wire, self.reactor.readers)
        server.address.send(("do", lambda me: (me.transport.write(b"late"), me.exit())))
        self.assertEqual(self.read_all(client), b"late")

    def test_end_of_input_once(self) -> None:
        """Resuming after the end of input does not bring the end again."""

        class Late(Protocol):
            allow_half_open = True

        client = self.connect(Late)
        client.shutdown(1)
        self.poll()
        self.server.transport.pauseProducing()
        self.server.transport.resumeProducing()
        self.poll()
        server: Any = self.server
        self.assertEqual(server.log.count(EndOfInput()), 1)


class SlowReaderTests(ConnectionTestCase):
    def test_never_reads(self) -> None:
        """A client that sends and never reads stops being read, and little is buffered."""
        client = self.connect(EchoProtocol)
        sent = self.send_much(client, b"x" * 65536, 2000)
        self.assertLess(sent, 16_000_000)  # of 131 MB; the kernel holds most of it
        self.assertNotIn(self.wire, self.reactor.readers)
        buffered = len(self.wire.dataBuffer) + self.wire._tempDataLen
        self.assertLess(buffered, 128 * 1024)
        client.shutdown(1)
        self.assertEqual(len(self.read_all(client)), sent)
