"""What every answer of the admin site says, and what it takes from its clients."""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.testing import StringTransport
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from echoactor.admin.access import Access
from echoactor.admin.site import CONNECTIONS, HEADERS, LIFETIME, SILENCE, STALL, STREAMS, Root, Site, Text

from .support import ActorTestCase, log_lines

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Endless(Resource):
    """An answer without an end."""

    isLeaf = True

    def render_GET(self, request: Any) -> Any:
        """Begin it."""
        if not request.hold():
            return b"too many\n"
        request.write(b"first\n")
        return NOT_DONE_YET


class Broken(Resource):
    """Fails."""

    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        """Fail."""
        raise ValueError("secret")


class Wire(StringTransport):
    """A client's connection."""

    aborted = False
    channel: Any
    producer: Any

    def abortConnection(self) -> None:
        """The server has had enough."""
        self.aborted = True
        self.channel.connectionLost(None)

    def loseConnection(self) -> None:
        """The server is done."""
        self.disconnecting = True


class SiteTestCase(ActorTestCase):
    def setUp(self) -> None:
        super().setUp()
        root = Root()
        root.putChild(b"", Text(200, "hello"))
        root.putChild(b"events", Endless())
        root.putChild(b"broken", Broken())
        self.site = Site(root, Access(None, []), self.system.timers, self.clock)

    def connect(self, data: bytes = b"") -> Wire:
        """A client that sends this."""
        channel = self.site.buildProtocol(None)
        wire = Wire()
        wire.channel = channel
        channel.makeConnection(wire)
        self.addCleanup(lambda: wire.aborted or channel.connectionLost(None))
        if data:
            channel.dataReceived(data)
        return wire

    def fetch(self, data: bytes = GET) -> tuple[int, dict[bytes, bytes], bytes]:
        """Status, headers and body of an answer."""
        head, _, body = self.connect(data).value().partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        return int(status.split()[1]), dict(line.split(b": ", 1) for line in lines), body


class AnswerTests(SiteTestCase):
    def test_answer(self) -> None:
        """A request is answered."""
        status, _, body = self.fetch()
        self.assertEqual((status, body), (200, b"hello\n"))

    def test_headers(self) -> None:
        """Every answer has the headers that keep it safe, errors and refusals too."""
        requests = {
            200: GET,
            404: GET.replace(b"/ ", b"/nowhere ", 1),
            405: GET.replace(b"GET", b"POST"),
            421: GET.replace(b"localhost", b"evil.example"),
            500: GET.replace(b"/ ", b"/broken ", 1),
        }
        for wanted, data in requests.items():
            status, headers, body = self.fetch(data)
            self.assertEqual(status, wanted)
            self.assertEqual({name: headers.get(name) for name in HEADERS}, HEADERS, wanted)
            self.assertNotIn(b"secret", body)
            self.assertNotIn(b"evil", body)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_nothing_from_outside(self) -> None:
        """The content security policy allows nothing but the site's own, and nothing written into a page."""
        policy = HEADERS[b"Content-Security-Policy"].decode()
        self.assertIn("default-src 'none'", policy)
        sources = set(re.findall(r"'[\w-]+'|https?:|\*|data:", policy))
        self.assertEqual(sources, {"'none'", "'self'"})

    def test_head(self) -> None:
        """HEAD is answered without a body."""
        lines = log_lines(self, "twisted.web")
        for path in (b"/", b"/nowhere"):
            status, headers, body = self.fetch(GET.replace(b"GET", b"HEAD").replace(b"/ ", path + b" ", 1))
            self.assertEqual((status, body), (200 if path == b"/" else 404, b""))
            self.assertGreater(int(headers[b"Content-Length"]), 0)
        self.assertEqual(lines, [], "a stranger could fill the log")

    def test_whole_urls(self) -> None:
        """A request may name the whole URL, as RFC 9112 says."""
        for path, wanted in (
            (b"http://localhost/", 200),
            (b"http://localhost", 200),
            (b"http://x/nowhere", 404),
            (b"/x://y/", 404),
        ):
            self.assertEqual(self.fetch(GET.replace(b"/ ", path + b" ", 1))[0], wanted, path)

    def test_asterisk(self) -> None:
        """OPTIONS for the whole server is refused like any other, with all headers."""
        status, headers, _ = self.fetch(GET.replace(b"GET / ", b"OPTIONS * "))
        self.assertEqual((status, headers.get(b"Allow")), (405, b"GET, HEAD"))
        self.assertIn(b"Content-Security-Policy", headers)

    def test_markup_in_a_path(self) -> None:
        """What is asked for does not come back in the answer."""
        _, _, body = self.fetch(b"GET /<script>alert(1)</script> HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertNotIn(b"script", body)


class BoundTests(SiteTestCase):
    def test_bodies(self) -> None:
        """A request with a body is refused, before the body is read."""
        for field in (b"Content-Length: 1000000000000", b"Transfer-Encoding: chunked"):
            wire = self.connect(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + field + b"\r\n\r\n5\r\nhello\r\n")
            self.assertTrue(wire.value().startswith(b"HTTP/1.1 413 "), wire.value())
            self.assertEqual(wire.value().count(b"HTTP/1.1"), 1)
            self.assertTrue(wire.disconnecting)

    def test_long_headers(self) -> None:
        """Too many headers, or too long ones, end the connection."""
        for data in (
            b"GET /" + b"a" * 20_000,
            GET[:-2] + b"X: y\r\n" * 5000,
            GET[:-2] + b"X: " + b"y" * 20_000,
        ):
            wire = self.connect(data + b"\r\n")
            self.assertTrue(wire.disconnecting, wire.value())

    def test_silence(self) -> None:
        """Who says nothing is disconnected."""
        for data in (b"", b"GET / HTTP/1.1\r\nHo"):
            wire = self.connect(data)
            self.pass_time(SILENCE - 1)
            self.assertFalse(wire.aborted)
            self.pass_time(1)
            self.assertTrue(wire.aborted)

    def test_one_request_each(self) -> None:
        """A connection is closed after its answer, so that no deadline meets a later request."""
        wire = self.connect(GET.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n") + GET)
        self.assertEqual(wire.value().count(b"HTTP/1.1 200"), 1)
        self.assertIn(b"Connection: close", wire.value())
        self.assertTrue(wire.disconnecting)

    def test_drops(self) -> None:
        """Who sends a request a byte at a time is disconnected, too."""
        wire = self.connect(b"GET / HTTP/1.1\r\nX: ")
        for _ in range(int(LIFETIME)):
            self.assertFalse(wire.aborted)
            wire.channel.dataReceived(b"a")
            self.pass_time(1)
        self.assertTrue(wire.aborted)

    def test_many(self) -> None:
        """One more than there may be takes the place of the oldest, so that a probe is always answered."""
        wires = [self.connect() for _ in range(10 * CONNECTIONS)]
        self.assertEqual(self.fetch()[0], 200)
        left = CONNECTIONS - 2  # the probe's coming took a place, and so did its answer
        self.assertEqual([wire.aborted for wire in wires], [True] * (len(wires) - left) + [False] * left)
        self.assertEqual(len(self.site.channels), CONNECTIONS - 1)
        self.assertEqual(self.site.gate.count, CONNECTIONS - 1)

    def test_streams(self) -> None:
        """So many streams go on, through silence and a crowd; one more is told to come again."""
        stream = GET.replace(b"/ ", b"/events ", 1)
        streams = [self.connect(stream) for _ in range(STREAMS)]
        status, headers, body = self.fetch(stream)
        self.assertEqual((status, headers[b"Retry-After"], body), (503, b"5", b"too many\n"))
        for _ in range(10 * CONNECTIONS):
            self.connect()
        self.pass_time(10 * LIFETIME)
        self.assertEqual([wire.aborted for wire in streams], [False] * STREAMS)

    def test_stalled_streams(self) -> None:
        """A stream whose client does not read is closed after a while; one that reads again is not."""
        stream = GET.replace(b"/ ", b"/events ", 1)
        wire, other = (self.connect(stream) for _ in range(2))
        for one in (wire, other):
            one.producer.pauseProducing()
        self.pass_time(STALL - 1)
        other.producer.resumeProducing()
        self.pass_time(1)
        self.assertEqual((wire.aborted, other.aborted, len(self.site.streams)), (True, False, 1))

    def test_close(self) -> None:
        """A site that stops closes all its connections, and leaves no timer."""
        wires = [self.connect(GET.replace(b"/ ", b"/events ", 1)), self.connect(), self.connect(GET)]
        self.site.close()
        self.assertEqual([wire.aborted for wire in wires], [True] * 3)
        self.settle()
        self.assertEqual((self.site.gate.count, self.clock.getDelayedCalls()), (0, []))
