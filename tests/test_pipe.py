"""What parent and worker tell each other, and that it arrives as it was."""

from __future__ import annotations

import os
import socket
from dataclasses import fields, replace
from typing import Any

from hypothesis import given, strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase, TestCase

from echoactor import ServerOptions
from echoactor.pipe import (
    Done,
    Drain,
    Message,
    Pipe,
    Reload,
    Resume,
    Said,
    Serve,
    Suspend,
    Tell,
    decode,
    encode,
)

from .support import reactor

TEXTS = st.text(
    st.characters(exclude_characters="\0"), min_size=1, max_size=20
)  # with surrogates, as in paths
SECONDS = st.floats(min_value=0, exclude_min=True, allow_infinity=False, allow_nan=False)

OPTIONS = ServerOptions(
    port=1,
    tls_port=2,
    endpoints=["tcp:3", "unix:/run/echo:mode=660"],
    interface="::1",
    reuse_port=True,
    backlog=4,
    max_connections=5,
    max_connections_per_address=6,
    allow=["10.0.0.0/8", "2001:db8::/32"],
    deny=["::ffff:10.1.0.0/112"],
    trusted_proxies=["192.0.2.7"],
    idle_timeout=None,
    handshake_timeout=0.1,
    close_timeout=8,
    shutdown_timeout=1e-9,
    max_write_buffer=10**15,
    certificate="a.pem",
    private_key=os.fsdecode(b"b\xff.pem"),
    certificate_directory="c",
    client_ca="d\n.pem",
)
"""Options of which none is as by default."""


class WordsTests(SynchronousTestCase):
    def check(self, message: Message) -> None:
        """A message is one line, and equal when it has arrived."""
        line = encode(message)
        self.assertNotIn(b"\n", line)
        self.assertEqual(decode(line), message)

    def test_all(self) -> None:
        """Each message arrives as it was sent."""
        for message in (
            Serve(ServerOptions(port=0), (("tcp:0", False), ("tls:0", True))),
            Serve(ServerOptions(), (), "/var/log/access", "json", True),
            Resume((1024, None)),
            Resume(()),
            Suspend(),
            Reload(),
            Tell(),
            Drain(),
            Done(),
            Done("it's\nbad"),
            Done(figures={"connections": 1, "share": 0.5, "names": ["a"]}),
            Said('{"log_format": "line\nline \udcff"}'),
        ):
            self.check(message)

    def test_options(self) -> None:
        """Options arrive identical, whatever is in them."""
        for field in fields(ServerOptions):
            self.assertNotEqual(getattr(OPTIONS, field.name), getattr(ServerOptions(), field.name))
        for options in (OPTIONS, ServerOptions()):
            self.check(Serve(options, ()))
            arrived: Any = decode(encode(Serve(options, ())))
            for field in fields(ServerOptions):
                kinds = [type(getattr(one, field.name)) for one in (options, arrived.options)]
                self.assertEqual(kinds[0], kinds[1], field.name)

    @given(SECONDS, TEXTS, st.lists(TEXTS, max_size=3), st.lists(st.ip_addresses(), max_size=3))
    def test_any_options(self, seconds: float, path: str, endpoints: list[str], hosts: list[Any]) -> None:
        """Any numbers, paths, texts and networks do."""
        options = replace(
            OPTIONS,
            idle_timeout=seconds,
            certificate=path,
            endpoints=endpoints,
            deny=[str(host) for host in hosts],
        )
        self.check(Serve(options, ((path, True),)))

    def test_objects_stay(self) -> None:
        """What cannot leave the process is refused, and not sent as something else."""
        with self.assertRaises(TypeError):
            encode(Done(figures={"reactor": object()}))


class PipeTests(TestCase):
    """Two ends, and a real pipe between them."""

    timeout = 20

    def setUp(self) -> None:
        self.got: list[tuple[Message, list[socket.socket]]] = []
        here, there = socket.socketpair()
        self.ours = self.end(here, lambda: None)
        self.theirs_lost: Deferred[None] = Deferred()
        self.theirs = self.end(there, lambda: self.theirs_lost.callback(None))

    def end(self, connected: socket.socket, lost: Any) -> Pipe:
        pipe = Pipe(lambda message, sockets: self.got.append((message, sockets)), lost)
        connected.setblocking(False)
        reactor.adoptStreamConnection(connected.fileno(), socket.AF_UNIX, Factory.forProtocol(lambda: pipe))
        connected.close()
        return pipe

    async def test_messages_and_sockets(self) -> None:
        """Messages arrive in order, sockets with the message that they belong to, and all before the end."""
        listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
        said = [Said("y" * size) for size in (1, 100_000, 1_000_000)]
        self.ours.send(said[0])
        self.ours.send(Resume((1, None)), listeners[:2])
        self.ours.send(said[1])
        self.ours.send(Resume((2,)), listeners[2:])
        self.ours.send(said[2])
        await self.ours.close()
        await self.theirs_lost
        expected = [said[0], Resume((1, None)), said[1], Resume((2,)), said[2]]
        self.assertTrue([message for message, _ in self.got] == expected)  # too long to be printed
        arrived = [one for _, sockets in self.got for one in sockets]
        self.assertEqual([len(sockets) for _, sockets in self.got], [0, 2, 0, 1, 0])
        self.assertEqual([one.getsockname() for one in arrived], [one.getsockname() for one in listeners])
        for one in (*arrived, *listeners):
            one.close()

    async def test_nobody_there(self) -> None:
        """What is sent to an end that is gone, or not there yet, is dropped."""
        Pipe(lambda *_: None, lambda: None).send(Tell())
        await self.theirs.close()
        await self.ours.close()
        self.ours.send(Tell())
        self.assertEqual(self.got, [])


class LineTests(SynchronousTestCase):
    def test_pieces(self) -> None:
        """A message may come in pieces, and several in one."""
        got: list[Message] = []
        pipe = Pipe(lambda message, _: got.append(message), lambda: None)
        pipe.makeConnection(StringTransport())
        data = encode(Tell()) + b"\n" + encode(Done()) + b"\n"
        for place in range(len(data)):
            pipe.dataReceived(data[place : place + 1])
        pipe.dataReceived(data)
        self.assertEqual(got, [Tell(), Done()] * 2)
