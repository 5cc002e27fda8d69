"""What several test modules need."""

from __future__ import annotations

import resource
import socket
import sys
import tempfile
import textwrap
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID
from twisted.internet import error, reactor as global_reactor, tcp
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    wrapClientTLS,
    wrapServerTLS,
)
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.protocols.portforward import ProxyClient, ProxyClientFactory, ProxyFactory, ProxyServer
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from echoactor import (
    Actor,
    ActorFactory,
    ActorProtocol,
    ActorSystem,
    Address,
    Call,
    EchoFactory,
    Server,
    ServerOptions,
)
from echoactor.testing import ClockSystem

reactor: Any = global_reactor


class ActorTestCase(SynchronousTestCase):
    """A test with a system on a Clock: no real time passes."""

    def setUp(self) -> None:
        self.system = ClockSystem()
        self.clock = self.system.clock

    def temporary_directory(self) -> Path:
        """A directory that goes with the test."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        return Path(directory.name)

    def settle(self) -> None:
        """Let the actors run until nothing is due."""
        self.system.settle()

    def pass_time(self, seconds: float) -> None:
        """Let time pass, then settle."""
        self.system.advance(seconds)

    def spawn(self, function: Any, *args: Any) -> Address:
        """Spawn an actor and let it take its first steps."""
        address = self.system.spawn(function, *args)
        self.settle()
        return address

    def ask(self, address: Address, request: object) -> Any:
        """Call an actor and return the reply."""
        return self.system.result(address.call(request))

    def recorder(self) -> tuple[Address, list[Any]]:
        """An actor that keeps what it receives, and the list it keeps it in."""
        received: list[Any] = []
        return self.spawn(Recorder, received), received


def log_lines(test: Any, namespace: str = "echoactor") -> list[str]:
    """A list that gets the text of each log line of the package, until the test is over."""
    lines: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event.get("log_namespace", "").startswith(namespace):
            lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    test.addCleanup(globalLogPublisher.removeObserver, observe)
    return lines


def count_lines(action: Callable[[], object]) -> int:
    """How many lines of the package an action runs: what time is made of, without the noise of a clock."""
    lines = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        if not frame.f_globals["__name__"].startswith("echoactor"):
            return None
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
    return lines


class Recorder(Actor):
    """Keeps what it receives."""

    def __init__(self, received: list[Any], traps: bool = False) -> None:
        self.received = received
        self.trap_exits = traps

    def receive(self, message: Any) -> None:
        self.received.append(message)


class Adder(Actor):
    """A counter in class style."""

    def __init__(self, total: int = 0) -> None:
        self.total = total

    def receive(self, message: Any) -> None:
        match message:
            case int(amount):
                self.total += amount
            case Call("total", reply):
                reply(self.total)
            case BaseException() as error:
                raise error


class Stuck(Actor):
    """Awaits for ever, with the first message in hand."""

    async def receive(self, message: Any) -> None:
        await Deferred()


async def adder(me: Any, total: int = 0) -> None:
    """A counter in coroutine style."""
    while True:
        match await me.receive():
            case int(amount):
                total += amount
            case Call("total", reply):
                reply(total)
            case BaseException() as error:
                raise error


class SocketClock(Clock):
    """A Clock that also keeps track of who wants to read and write, and lets them when told."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()
        self.writers: set[Any] = set()
        self.addReader, self.removeReader = self.readers.add, self.readers.discard
        self.addWriter, self.removeWriter = self.writers.add, self.writers.discard

    def poll(self) -> None:
        """Let those who want to read and write do so once, as a reactor's poll does."""
        for wanting, action in ((self.readers, "doRead"), (self.writers, "doWrite")):
            for one in list(wanting):
                if one in wanting:
                    why = getattr(one, action)()
                    if why is not None:
                        self.disconnect(one, why, action == "doRead")

    def disconnect(self, transport: Any, why: Any, reading: bool) -> None:
        """What a reactor does when a read or write ends the connection."""
        self.removeReader(transport)
        if reading and isinstance(why, error.ConnectionDone):
            transport.readConnectionLost(Failure(why))
        else:
            self.removeWriter(transport)
            transport.connectionLost(Failure(why))


class ConnectionTestCase(ActorTestCase):
    """A test with real sockets and real Twisted transports, polled by the test itself."""

    def setUp(self) -> None:
        self.clock = self.reactor = SocketClock()
        self.system = ClockSystem(self.clock)

    def connect(self, protocol: type[ActorProtocol], transport_class: Any = tcp.Server) -> socket.socket:
        """Connect; returns the client's socket, and leaves the protocol in ``self.server``."""
        factory = ActorFactory(self.system)
        factory.protocol = protocol
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            accepted, peer = listener.accept()
        self.addCleanup(client.close)
        self.addCleanup(accepted.close)
        for end, option in ((client, socket.SO_RCVBUF), (accepted, socket.SO_SNDBUF)):
            end.setsockopt(socket.SOL_SOCKET, option, 64 * 1024)
        client.settimeout(5)
        built = factory.buildProtocol(IPv4Address("TCP", *peer))
        assert isinstance(built, ActorProtocol)
        self.server = built
        self.wire = transport_class(accepted, built, peer, None, 1, self.reactor)
        self.wire.repstr = "<a connection under test>"  # which tcp.Server has from its port
        built.makeConnection(self.wire)
        self.wire.startReading()
        return client

    def poll(self, times: int = 3) -> None:
        """Let the server's side do what it can."""
        for _ in range(times):
            self.reactor.poll()
            self.settle()

    def read_all(self, client: socket.socket, polls: int = 10_000) -> bytes:
        """Read until the server closes."""
        got = bytearray()
        for _ in range(polls):
            data = self.read_some(client)
            if data == b"":
                return bytes(got)
            got += data or b""
        self.fail(f"the server did not close; got {len(got)} bytes")

    def read_some(self, client: socket.socket) -> bytes | None:
        """Poll once and read what has come; None if nothing has, b"" at the end."""
        client.setblocking(False)
        self.poll(1)
        try:
            return client.recv(1 << 20)
        except BlockingIOError:
            return None

    def send_much(self, client: socket.socket, piece: bytes, times: int) -> int:
        """Send a piece that often, polling when the way is full; returns how many bytes were taken."""
        client.setblocking(False)
        sent = 0
        for _ in range(times):
            try:
                sent += client.send(piece)
            except BlockingIOError:
                self.poll(1)
        return sent


@implementer(IPushProducer)
class Producer:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


class Client(Protocol):
    """Collects what it gets; ``closed`` fires with all of it when the connection is gone."""

    transport: Any

    def __init__(self) -> None:
        self.got = bytearray()
        self.closed: Deferred[bytes] = Deferred()
        self.waiting: list[tuple[int, Deferred[bytes]]] = []

    def dataReceived(self, data: bytes) -> None:
        self.got += data
        for entry in [entry for entry in self.waiting if len(self.got) >= entry[0]]:
            self.waiting.remove(entry)
            entry[1].callback(bytes(self.got))

    def read(self, size: int) -> Deferred[bytes]:
        """Fires when so many bytes have come in all."""
        done: Deferred[bytes] = Deferred()
        self.waiting.append((size, done))
        self.dataReceived(b"")
        return done

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.closed.callback(bytes(self.got))


class Relay(ProxyFactory):
    """Forwards, and keeps all that went either way."""

    noisy = False

    def __init__(self, reactor: Any, port: int) -> None:
        super().__init__("127.0.0.1", port)
        self.wire = wire = bytearray()

        class Back(ProxyClient):
            def dataReceived(self, data: bytes) -> None:
                wire.extend(data)
                super().dataReceived(data)

        class BackFactory(ProxyClientFactory):
            protocol = Back
            noisy = False

        class There(ProxyServer):
            clientProtocolFactory = BackFactory

            def dataReceived(self, data: bytes) -> None:
                wire.extend(data)
                super().dataReceived(data)

        There.reactor = reactor
        self.protocol = There


class RealTestCase(TestCase):
    """A test with a system on the real reactor."""

    timeout = 120

    def setUp(self) -> None:
        self.system = ActorSystem(reactor, "test")
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

    async def serve(self, endpoint: Any, factory: Any = None) -> Any:
        """Listen until the test is over; returns the address of the port."""
        port = await endpoint.listen(factory or EchoFactory(self.system))
        self.addCleanup(self.system.stopService)
        self.addCleanup(port.stopListening)
        return port.getHost()

    def start(self, options: ServerOptions, factory: Any = None) -> Server:
        """Start a server under the system, until the test is over."""
        server = Server(factory or EchoFactory(self.system), options)
        server.setServiceParent(self.system)
        self.system.startService()
        self.addCleanup(self.system.stopService)
        return server

    async def serve_tcp(self, factory: Any = None) -> Any:
        """Listen on TCP; returns a client endpoint."""
        host = await self.serve(TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"), factory)
        return TCP4ClientEndpoint(reactor, "127.0.0.1", host.port)

    async def listen_tls(self, factory: Any = None) -> Any:
        """Listen on TLS; returns a client endpoint that trusts it."""
        pem = make_certificate(self.directory).read_bytes()
        plain = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        host = await self.serve(wrapServerTLS(PrivateCertificate.loadPEM(pem).options(), plain), factory)
        trust = optionsForClientTLS("localhost", Certificate.loadPEM(pem))
        return wrapClientTLS(trust, TCP4ClientEndpoint(reactor, "127.0.0.1", host.port))

    async def in_thread(self, function: Any, *args: Any) -> Any:
        """Call what blocks while the reactor goes on."""
        return await deferToThread(function, *args)

    def client_of(self, server: Server, place: int = 0) -> TCP4ClientEndpoint:
        """A client's endpoint for one of a server's ports."""
        return TCP4ClientEndpoint(reactor, "127.0.0.1", server.addresses[place].port)

    async def connect(self, endpoint: Any) -> Client:
        client: Client = await endpoint.connect(Factory.forProtocol(Client))
        return client


SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=True,  # one that signs itself serves, too
    key_cert_sign=True,
    crl_sign=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)


class Authority:
    """
    Signs certificates, and can be signed itself by another.

    :param directory: where files go.
    """

    def __init__(self, directory: Path, name: str = "authority", issuer: Authority | None = None) -> None:
        self.directory = directory
        self.issuer = issuer
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self.sign(self.key, self.name, issuer or self, ca=True)
        self.file = directory / f"{name}.ca"
        self.file.write_bytes(self.certificate.public_bytes(Encoding.PEM))

    @staticmethod
    def sign(
        key: Any,
        subject: x509.Name,
        issuer: Authority,
        names: list[str] | None = None,
        ca: bool = False,
        days: int = 1,
    ) -> x509.Certificate:
        now = datetime.now(timezone.utc)
        start = min(now, now + timedelta(days=days)) - timedelta(days=1)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            # Without these, Python is not content since 3.13.
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False
            )
        )
        if ca:
            builder = builder.add_extension(SIGNS_CERTIFICATES, critical=True)
        if names:
            hosts = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
            builder = builder.add_extension(hosts, critical=False)
        return builder.sign(issuer.key, hashes.SHA256())

    def make(
        self,
        file: str,
        *names: str,
        key_file: str | None = None,
        password: bytes | None = None,
        days: int = 1,
        key: Any = None,
    ) -> str:
        """Write a certificate for these hosts, with its chain, and its key into the same file or another."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0] if names else "nobody")])
        chain = [self.sign(key, subject, self, list(names), days=days)]
        if self.issuer is not None:
            chain.append(self.certificate)
        encryption = BestAvailableEncryption(password) if password else NoEncryption()
        text = b"".join(one.public_bytes(Encoding.PEM) for one in chain)
        key_text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
        path = self.directory / file
        path.parent.mkdir(exist_ok=True)
        if key_file is None:
            text = key_text + text
        else:
            (self.directory / key_file).write_bytes(key_text)
        path.write_bytes(text)
        return str(path)


def make_certificate(directory: Path) -> Path:
    """Write a self-signed certificate for localhost and its key to a PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    itself: Any = SimpleNamespace(
        key=key, name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    )
    certificate = Authority.sign(key, itself.name, itself, ["localhost"], ca=True)
    file = directory / "localhost.pem"
    file.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + certificate.public_bytes(Encoding.PEM)
    )
    return file


class FileLimitsTestCase(SynchronousTestCase):
    """
    For code that raises the limit of open files: it sees and sets one of the test's.

    :ivar limits: the soft and the hard one.
    """

    def setUp(self) -> None:
        self.limits = (100, 1000)
        self.patch(resource, "getrlimit", lambda _: self.limits)
        self.patch(resource, "setrlimit", self.set)

    def set(self, _: int, limits: tuple[int, int]) -> None:
        self.limits = limits


def storm(crashes: int, answer: bytes) -> str:
    """
    A piece of a program that makes a storm of crashes of a server.

    :param crashes: how many each read of a connection causes.
    :param answer: what the connection says when they are on their way.
    """
    return textwrap.dedent(f"""
        import echoactor.echo as echo
        from echoactor import Actor

        class Bad(Actor):
            def receive(self, message):
                raise ValueError("\\x1b[31m\\n{{forged}} " + message)

        def receive(self, message):
            if isinstance(message, bytes):
                for number in range({crashes}):
                    self.spawn(Bad).send(f"number {{number}}")
                self.transport.write({answer!r})
        echo.EchoProtocol.receive = receive
        """)
