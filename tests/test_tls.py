"""Certificates: chosen by name, demanded of clients, and loaded again."""

from __future__ import annotations

import builtins
import socket
import ssl
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from echoactor import ActorFactory, ActorProtocol, EchoProtocol, Server, ServerOptions, Shutdown
from echoactor.errors import CertificateError
from echoactor.events import ActorEnded, ConnectionClosed, ConnectionOpened, ConnectionReady
from echoactor.tls import Certificates

from .support import Authority, RealTestCase, log_lines, make_certificate, reactor

HELLO = b"hello"


class TLSTestCase(RealTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.authority = Authority(self.directory)
        self.closed: list[Any] = []
        self.system.events.subscribe(ConnectionClosed, lambda event: self.closed.append(event.reason))

    def serve_tls(self, **options: Any) -> Server:
        return self.start(ServerOptions(tls_port=0, interface="127.0.0.1", **options))

    def client(self, server: Server, name: str | None = None, **more: Any) -> ssl.SSLSocket:
        """A client that has finished its handshake; for a thread of its own."""
        context = ssl.create_default_context(cafile=more.pop("cafile", self.authority.file))
        context.check_hostname = name is not None
        certificate = more.pop("certificate", None)
        if certificate is not None:
            context.load_cert_chain(certificate)
        for attribute, value in more.items():
            setattr(context, attribute, value)
        plain = socket.create_connection(("127.0.0.1", server.addresses[0].port), timeout=10)
        self.addCleanup(plain.close)
        wrapped = context.wrap_socket(plain, server_hostname=name)
        self.addCleanup(wrapped.close)
        return wrapped

    def echo(self, client: ssl.SSLSocket, data: bytes = HELLO) -> bytes:
        client.sendall(data)
        got = b""
        while len(got) < len(data):
            more = client.recv(len(data) - len(got))
            if not more:
                break
            got += more
        return got

    async def names_of(self, server: Server, name: str | None) -> list[str]:
        """The hosts of the certificate that a client of ``name`` gets."""

        def ask() -> list[str]:
            client = self.client(server, name, check_hostname=False)
            self.assertEqual(self.echo(client), HELLO)
            certificate: Any = client.getpeercert()
            return [host for _, host in certificate["subjectAltName"]]

        names: list[str] = await deferToThread(ask)
        return names


class ServingTests(TLSTestCase):
    async def test_echo(self) -> None:
        """A client that trusts the authority gets its bytes back; key and certificate may be two files."""
        for key_file in (None, "key.pem"):
            file = self.authority.make("x.pem", "localhost", key_file=key_file)
            key = None if key_file is None else str(self.directory / key_file)
            server = self.serve_tls(certificate=file, private_key=key)
            client = await deferToThread(self.client, server, "localhost")
            self.assertEqual(await deferToThread(self.echo, client, b"x" * 100_000), b"x" * 100_000)
            client.close()

    async def test_chain(self) -> None:
        """The chain is sent: a client that knows only its root trusts the certificate."""
        middle = Authority(self.directory, "middle", self.authority)
        server = self.serve_tls(certificate=middle.make("x.pem", "localhost"))
        client = await deferToThread(self.client, server, "localhost")
        self.assertEqual(await deferToThread(self.echo, client), HELLO)

    async def test_versions(self) -> None:
        """TLS 1.2 and 1.3 are spoken, and nothing older."""
        server = self.serve_tls(certificate=self.authority.make("x.pem", "localhost"))
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            client = await deferToThread(self.client, server, "localhost", maximum_version=version)
            self.assertEqual(await deferToThread(self.echo, client), HELLO)
            self.assertEqual(client.version(), version.name.replace("_", "."))

    async def test_names(self) -> None:
        """The host that a client names chooses its certificate; an unknown one or none gets the default."""
        default = self.authority.make("default.pem", "default.example")
        self.authority.make("sites/a.pem", "a.example", "b.example")
        self.authority.make("sites/wild.pem", "*.wild.example")
        self.authority.make("sites/exact.pem", "exact.wild.example")
        server = self.serve_tls(certificate=default, certificate_directory=str(self.directory / "sites"))
        for name, expected in (
            ("a.example", ["a.example", "b.example"]),
            ("B.Example", ["a.example", "b.example"]),
            ("x.wild.example", ["*.wild.example"]),
            ("exact.wild.example", ["exact.wild.example"]),
            ("x.y.wild.example", ["default.example"]),
            ("wild.example", ["default.example"]),
            ("unknown.example", ["default.example"]),
            (None, ["default.example"]),
        ):
            self.assertEqual(await self.names_of(server, name), expected, name)

    async def test_no_default(self) -> None:
        """Without a default certificate, clients of unknown hosts are refused, and the others are not."""
        self.authority.make("sites/a.pem", "a.example")
        server = self.serve_tls(certificate_directory=str(self.directory / "sites"))
        for name in ("unknown.example", None):
            with self.assertRaises(ssl.SSLError):
                await self.names_of(server, name)
        self.assertEqual(await self.names_of(server, "a.example"), ["a.example"])

    async def test_events(self) -> None:
        """A connection is ready when its handshake is done, and that event and its end name the version."""
        heard: list[Any] = []
        for kind in (ConnectionOpened, ConnectionReady, ConnectionClosed):
            self.system.events.subscribe(kind, heard.append)
        server = self.serve_tls(certificate=self.authority.make("one.pem", "one.test"))

        def talk() -> str | None:
            with self.client(server, "one.test") as client:
                self.echo(client)
                return client.version()

        version = await deferToThread(talk)
        await server.wait_for_connections(0)
        self.assertEqual(
            [type(event) for event in heard], [ConnectionOpened, ConnectionReady, ConnectionClosed]
        )
        self.assertEqual([event.tls for event in heard[1:]], [version, version])
        client = await self.connect(self.client_of(server))
        client.transport.write(bytes(100))  # which is no TLS
        await client.closed
        self.assertEqual([type(event) for event in heard[3:]], [ConnectionOpened, ConnectionClosed])
        self.assertIsNone(heard[-1].tls)

    def serve_protocol(self, protocol: type[ActorProtocol]) -> Server:
        factory = ActorFactory(self.system)
        factory.protocol = protocol
        certificate = self.authority.make("one.pem", "one.test")
        return self.start(ServerOptions(tls_port=0, interface="127.0.0.1", certificate=certificate), factory)

    async def test_awaits_in_the_handshake(self) -> None:
        """An actor that awaits when its connection is made reads the handshake, and no more."""
        awaited: Deferred[None] = Deferred()
        made: list[Any] = []

        class Awaits(EchoProtocol):
            async def connectionMade(self) -> None:
                made.append(self)
                await awaited

        server = self.serve_protocol(Awaits)
        client = await deferToThread(self.client, server, "one.test")
        while not made[0].transport.is_held_back():  # the client is content before the server is
            await deferLater(reactor, 0.01, lambda: None)
        awaited.callback(None)
        self.assertEqual(await deferToThread(self.echo, client), HELLO)
        client.close()

    async def test_awaits_when_it_is_gone(self) -> None:
        """What an actor awaits after its connection was reset is no error of TLS."""
        reasons: list[Any] = []
        self.system.events.subscribe(ActorEnded, lambda event: reasons.append(event.reason))
        done: list[Any] = []

        class Awaits(ActorProtocol):
            async def receive(self, message: Any) -> None:
                await deferLater(reactor, 0.01, lambda: None)
                done.append(message)

        server = self.serve_protocol(Awaits)
        await deferToThread(self.client, server, "one.test")
        [connection] = [cell for cell in self.system.cells() if cell.kind.endswith("Awaits")]
        transport = connection.actor.transport
        transport.abortConnection()
        connection.address.send("after the end")
        while not reasons:
            await deferLater(reactor, 0.01, lambda: None)
        self.assertEqual((done, [type(reason) for reason in reasons]), (["after the end"], [Shutdown]))

    async def test_start_tls_between_awaits(self) -> None:
        """An actor that awaited, starts TLS, and awaits again, reads the client's handshake meanwhile."""
        options = PrivateCertificate.loadPEM(make_certificate(self.directory).read_bytes()).options()
        shaken: Deferred[None] = Deferred()

        class Starts(ActorProtocol):
            async def receive(self, message: Any) -> None:
                await deferLater(reactor, 0.01, lambda: None)
                self.transport.write(b"now")
                self.transport.startTLS(options)
                await shaken
                self.transport.write(HELLO)

        factory = ActorFactory(self.system)
        factory.protocol = Starts
        server = self.start(ServerOptions(port=0, interface="127.0.0.1"), factory)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

        def shake() -> ssl.SSLSocket:
            plain = socket.create_connection(("127.0.0.1", server.addresses[0].port), timeout=10)
            plain.sendall(b"STARTTLS")
            self.assertEqual(plain.recv(3), b"now")
            return context.wrap_socket(plain)

        client = await deferToThread(shake)
        self.addCleanup(client.close)
        shaken.callback(None)
        self.assertEqual(await deferToThread(client.recv, 10), HELLO)

    async def test_all_before_the_end(self) -> None:
        """A client that sends much, ends its TLS and then reads, gets all of it back."""
        server = self.serve_tls(certificate=self.authority.make("one.pem", "one.test"))
        for _ in range(5):
            self.assertEqual(await deferToThread(self.send_and_end, server, 300_000), 300_000)

    def send_and_end(self, server: Server, size: int) -> int:
        """How much of it comes back."""
        with socket.create_connection(("127.0.0.1", server.addresses[0].port)) as plain:
            client = SSL.Connection(SSL.Context(SSL.TLS_METHOD), plain)
            client.set_connect_state()
            client.sendall(bytes(size))
            client.shutdown()
            got = 0
            try:
                while True:
                    got += len(client.recv(65536))
            except SSL.ZeroReturnError:
                return got

    async def test_client_certificates(self) -> None:
        """With an authority for clients, only those with its certificate get in, whatever host they name."""
        stranger = Authority(self.directory, "stranger")
        self.authority.make("sites/a.pem", "a.example")
        server = self.serve_tls(
            certificate=self.authority.make("x.pem", "localhost"),
            certificate_directory=str(self.directory / "sites"),
            client_ca=str(self.authority.file),
        )
        good = self.authority.make("good.pem", "client")
        bad = (None, stranger.make("wrong.pem", "client"), self.authority.make("old.pem", "client", days=-1))

        def talk(name: str, certificate: str | None) -> bytes:
            try:
                return self.echo(self.client(server, name, certificate=certificate))
            except (ssl.SSLError, ConnectionError):
                return b"refused"

        for name in ("localhost", "a.example"):
            self.assertEqual(await deferToThread(talk, name, good), HELLO)
            for certificate in bad:
                self.assertEqual(await deferToThread(talk, name, certificate), b"refused", certificate)

    async def test_quiet(self) -> None:
        """Garbage, plain text, old versions, and clients that go away end quietly, with a reason in words."""
        server = self.serve_tls(certificate=self.authority.make("x.pem", "localhost"))
        lines = log_lines(self, "")
        hello = self.client_hello()

        def send(data: bytes) -> None:
            with socket.create_connection(("127.0.0.1", server.addresses[0].port), timeout=10) as plain:
                plain.sendall(data)
                plain.shutdown(socket.SHUT_WR)
                try:
                    while plain.recv(1000):
                        pass
                except ConnectionError:
                    pass

        def distrust() -> None:
            with self.assertRaises(ssl.SSLError):
                self.client(server, "localhost", cafile=None)

        pieces = (
            b"GET / HTTP/1.1\r\n\r\n",
            bytes(range(256)) * 20,
            b"",
            hello[:20],
            hello[:-1],
            self.old_hello(),
        )
        for data in pieces:
            await deferToThread(send, data)
        await deferToThread(distrust)
        await server.wait_for_connections(0)
        self.assertEqual(len(self.closed), len(pieces) + 1)
        for reason in self.closed:
            self.assertIsInstance(reason, Shutdown)
            self.assertNotIn("[(", reason.detail)
            self.assertLess(len(reason.detail), 120)
        self.assertEqual([line for line in lines if "rror" in line or "raceback" in line], [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def client_hello(self) -> bytes:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
        with self.assertRaises(ssl.SSLWantReadError):
            tls.do_handshake()
        return outgoing.read()

    def old_hello(self) -> bytes:
        """A hello of TLS 1.0 alone: without the extension that names the newer versions."""
        body = b"\x03\x01" + bytes(32) + b"\0" + b"\0\x02\xc0\x14" + b"\x01\0"
        handshake = b"\x01" + len(body).to_bytes(3, "big") + body
        return b"\x16\x03\x01" + len(handshake).to_bytes(2, "big") + handshake


class ReloadTests(TLSTestCase):
    async def test_swapped(self) -> None:
        """New connections get the new certificates; an open one goes on in both directions."""
        file = self.authority.make("x.pem", "old.example")
        server = self.serve_tls(certificate=file)
        old = await deferToThread(self.client, server)
        self.assertEqual(await deferToThread(self.echo, old), HELLO)
        self.authority.make("x.pem", "new.example")
        self.assertEqual(await self.names_of(server, None), ["old.example"])
        server.reload()
        self.assertEqual(await self.names_of(server, None), ["new.example"])
        self.assertEqual(await deferToThread(self.echo, old, b"y" * 50_000), b"y" * 50_000)

    async def test_new_names(self) -> None:
        """Files that were added and removed count after a reload."""
        self.authority.make("sites/a.pem", "a.example")
        default = self.authority.make("default.pem", "default.example")
        server = self.serve_tls(certificate=default, certificate_directory=str(self.directory / "sites"))
        (self.directory / "sites" / "a.pem").unlink()
        self.authority.make("sites/b.pem", "b.example")
        server.reload()
        self.assertEqual(await self.names_of(server, "a.example"), ["default.example"])
        self.assertEqual(await self.names_of(server, "b.example"), ["b.example"])

    async def test_bad_file(self) -> None:
        """With any bad file all stay as they were."""
        self.authority.make("sites/a.pem", "a.example")
        file = self.authority.make("x.pem", "old.example")
        server = self.serve_tls(certificate=file, certificate_directory=str(self.directory / "sites"))
        self.authority.make("x.pem", "new.example")
        (self.directory / "sites" / "a.pem").write_text("garbage")
        with self.assertRaisesRegex(CertificateError, "a.pem': holds no certificate"):
            server.reload()
        self.assertEqual(await self.names_of(server, "a.example"), ["a.example"])
        self.assertEqual(await self.names_of(server, None), ["old.example"])

    async def test_client_authority(self) -> None:
        """A session from before clients needed certificates does not let a client in without one."""
        authority = self.directory / "clients.ca"
        authority.write_bytes(self.authority.file.read_bytes())
        stranger = Authority(self.directory, "stranger")
        server = self.serve_tls(
            certificate=self.authority.make("x.pem", "localhost"), client_ca=str(authority)
        )
        certificate = stranger.make("client.pem", "client")
        context = ssl.create_default_context(cafile=str(self.authority.file))
        context.load_cert_chain(certificate)
        authority.write_bytes(stranger.file.read_bytes())
        server.reload()

        def talk(session: ssl.SSLSession | None = None) -> tuple[bytes, ssl.SSLSession | None]:
            plain = socket.create_connection(("127.0.0.1", server.addresses[0].port), timeout=10)
            with context.wrap_socket(plain, server_hostname="localhost", session=session) as client:
                try:
                    return self.echo(client), client.session
                except (ssl.SSLError, ConnectionError):
                    return b"refused", None

        answer, session = await deferToThread(talk)
        self.assertEqual(answer, HELLO)
        authority.write_bytes(self.authority.file.read_bytes())
        server.reload()
        self.assertEqual(await deferToThread(talk, session), (b"refused", None))


class ErrorTests(TLSTestCase):
    def check(self, words: str, **options: Any) -> None:
        """Loading fails with one line, which names the option and the file."""
        with self.assertRaises(CertificateError) as caught:
            Certificates(ServerOptions(tls_port=0, **options))
        self.assertIn(words, str(caught.exception))
        self.assertNotIn("\n", str(caught.exception))

    def test_files(self) -> None:
        """Each way in which a file can be bad has its line."""
        good = self.authority.make("good.pem", "localhost", key_file="good.key")
        other = self.authority.make("other.pem", "localhost", key_file="other.key")
        key, other_key = str(self.directory / "good.key"), str(self.directory / "other.key")
        garbage = self.directory / "garbage.pem"
        garbage.write_text("garbage")
        nowhere = str(self.directory / "nowhere.pem")
        self.check(f"certificate: {nowhere!r}: No such file or directory", certificate=nowhere)
        self.check(f"certificate: {str(garbage)!r}: holds no certificate", certificate=str(garbage))
        self.check(f"certificate: {good!r}: holds no private key", certificate=good)
        self.check(f"private_key: {nowhere!r}: No such file", certificate=good, private_key=nowhere)
        self.check(f"private_key: {good!r}: holds no private key", certificate=other, private_key=good)
        self.check(f"private_key: {other_key!r}: is not the key", certificate=good, private_key=other_key)
        self.check(f"client_ca: {nowhere!r}: No such", certificate=good, private_key=key, client_ca=nowhere)
        self.check(f"client_ca: {key!r}: holds no", certificate=good, private_key=key, client_ca=key)
        self.check(f"certificate: {str(self.directory)!r}: Is a directory", certificate=str(self.directory))

    def test_encrypted_key(self) -> None:
        """A key with a password is refused; nobody is asked for it."""
        file = self.authority.make("x.pem", "localhost", password=b"secret")
        self.check("the private key is encrypted", certificate=file)

    def test_broken_chain(self) -> None:
        """A chain whose links do not fit is refused."""
        stranger = Authority(self.directory, "stranger")
        file = Path(self.authority.make("x.pem", "localhost"))
        file.write_bytes(file.read_bytes() + stranger.file.read_bytes())
        self.check(
            "the chain is broken: CN=localhost was not issued by the next, CN=stranger", certificate=file
        )

    def test_directory(self) -> None:
        """A directory that is missing or empty is refused, and names that are claimed twice or not at all."""
        sites = self.directory / "sites"
        self.check(f"certificate_directory: {str(sites)!r}: No such file", certificate_directory=str(sites))
        sites.mkdir()
        self.check("has no .pem file", certificate_directory=str(sites))
        first = self.authority.make("sites/a.pem", "a.example")
        second = self.authority.make("sites/b.pem", "b.example", "A.example")
        self.check(f"{second!r}: {first!r} is for a.example, too", certificate_directory=str(sites))
        self.authority.make("sites/b.pem")
        self.check("names no host", certificate_directory=str(sites))

    def test_not_for_openssl(self) -> None:
        """A key that OpenSSL does not take is refused at once, and not by the first client."""
        weak = rsa.generate_private_key(65537, 1024)
        file = self.authority.make("sites/x.pem", "localhost", key=weak)
        self.check(f"certificate: {file!r}: OpenSSL does not take it: ee key too small", certificate=file)
        self.check(
            f"certificate_directory: {file!r}: OpenSSL does not take it: ee key too small",
            certificate_directory=str(self.directory / "sites"),
        )

    def test_expired(self) -> None:
        """A certificate that is not valid now is used, with a warning."""
        lines = log_lines(self, "echoactor.tls")
        file = self.authority.make("x.pem", "localhost", days=-1)
        Certificates(ServerOptions(tls_port=0, certificate=file))
        [line] = lines
        self.assertIn(f"certificate: {file!r}: the certificate is valid from", line)

    def test_not_installed(self) -> None:
        """Without the packages for TLS one line says what to install."""
        real = builtins.__import__

        def refuse(name: str, *args: Any, **more: Any) -> Any:
            if name == "twisted.internet" and args[2] and "ssl" in args[2]:
                raise ImportError("No module named 'OpenSSL'", name="OpenSSL")
            return real(name, *args, **more)

        self.patch(builtins, "__import__", refuse)
        self.check("needs the package OpenSSL (pip install 'echoactor[tls]')", certificate="x.pem")
