"""How the load client opens its connections, and what it says when it cannot."""

from __future__ import annotations

import asyncio
import resource
import socket
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest

from echoactor.load import opening
from echoactor.load.client import Load
from echoactor.load.opening import OTHERS, LoadError, Opener, make_room_for
from echoactor.load.options import LoadOptions

from .support import FileLimitsTestCase
from .test_load_client import Echo, LoadTestCase, Silent, UvloopTestCase


class OpeningTests(LoadTestCase):
    """On asyncio's own event loop."""

    def refused(self, *texts: str, protocol: type[asyncio.BaseProtocol] = Echo, **options: Any) -> None:
        """Nothing could be made; the error says why."""
        with self.assertRaises(LoadError) as caught:
            self.run_load(protocol, **options)
        for text in texts:
            self.assertIn(text, str(caught.exception))

    def test_interrupted(self) -> None:
        """An interrupt while connections open, the first or others, ends it with one line."""
        text = "interrupted before all connections were open"
        start = time.perf_counter()
        self.refused(text, protocol=Silent, during=Load.interrupt, while_opening=True, tls=True, timeout=15)
        connect = Opener._connect

        async def slowly(opener: Opener, number: int, *address: Any) -> None:
            await connect(opener, number, *address)
            await asyncio.sleep(number * 15)

        self.patch(Opener, "_connect", slowly)
        self.refused(text, during=Load.interrupt, while_opening=True)
        self.assertLess(time.perf_counter() - start, 10)

    def test_ipv6(self) -> None:
        """An IPv6 address is a target like others."""
        self.host = "::1"
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            raise SkipTest("no IPv6 here") from None
        self.assertEqual(self.run_load(Echo).errors, {})

    def test_localhost(self) -> None:
        """A name with several addresses is tried address by address."""
        self.assertEqual(self.run_load(Echo, host="localhost").errors, {})

    def test_refused(self) -> None:
        """When nobody listens, one line says so."""
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        loop = self.new_loop()
        self.addCleanup(loop.close)

        async def run() -> None:
            await Load(LoadOptions(host="127.0.0.1", port=port), self.figures).run()

        with self.assertRaises(LoadError) as caught:
            loop.run_until_complete(run())
        self.assertEqual(str(caught.exception), f"cannot connect to 127.0.0.1:{port}: Connection refused")

    def test_unknown_host(self) -> None:
        """A name that is none gets one line, whatever is wrong with it."""
        self.refused("cannot connect to no-such-host.invalid:", host="no-such-host.invalid")
        self.refused("cannot connect to", host="a" * 70 + ".invalid")

    def test_bad_server_name(self) -> None:
        """A name that no certificate could have gets one line."""
        for name in (".example", "a" * 70 + ".example"):
            self.refused(f"--server-name: {name!r} is not the name of a host", tls=True, server_name=name)

    def test_some_not_connected(self) -> None:
        """A connection that cannot be made is an error; the others do their work."""
        connect = Opener._connect

        async def fail(opener: Opener, number: int, *address: Any) -> None:
            if number == 1:
                raise ConnectionRefusedError(111, "Connect call failed")
            await connect(opener, number, *address)

        self.patch(Opener, "_connect", fail)
        figures = self.run_load(Echo)
        self.assertEqual(figures.errors, {"not connected": 1})
        self.assertEqual(figures.details, ["connection 1: Connection refused"])
        self.assertGreaterEqual(figures.messages, 2)

    def test_many(self) -> None:
        """Hundreds of connections, each with a stream of its own, are opened a few at a time."""
        most = now = 0
        connect = Opener._connect

        async def count(opener: Opener, *args: Any) -> None:
            nonlocal most, now
            now += 1
            most = max(most, now)
            await connect(opener, *args)
            now -= 1

        self.patch(Opener, "_connect", count)
        figures = self.run_load(Echo, connections=300, timeout=15)
        self.assertEqual((figures.errors, self.opened[-1]), ({}, 300))
        self.assertGreaterEqual(figures.messages, 300)
        self.assertLessEqual(most, opening.OPENING)

    def test_tls(self) -> None:
        """Load goes over TLS, to a server whose certificate is verified."""
        ca = self.serve_tls("localhost")
        figures = self.run_load(Echo, tls=True, ca=ca, host="localhost", size=100_000, pipeline=3, timeout=10)
        self.assertEqual(figures.errors, {})
        self.assertGreaterEqual(figures.messages, 9)

    def test_tls_server_name(self) -> None:
        """The name to ask for can be another than the host."""
        ca = self.serve_tls("echo.example")
        asked = []
        assert self.tls is not None
        self.tls.sni_callback = lambda wire, name, context: asked.append(name)
        self.assertEqual(self.run_load(Echo, tls=True, ca=ca, server_name="echo.example").errors, {})
        self.assertEqual(asked, ["echo.example"] * 3)

    def test_tls_insecure(self) -> None:
        """Any certificate will do if told so."""
        self.serve_tls("other.example")
        self.assertEqual(self.run_load(Echo, tls=True, insecure=True).errors, {})

    def test_tls_not_trusted(self) -> None:
        """A certificate of an unknown authority, or for another name, is refused, and the line says why."""
        ca = self.serve_tls("other.example")
        self.refused("unable to get local issuer certificate", tls=True)
        self.refused("IP address mismatch", tls=True, ca=ca)

    def test_tls_to_none(self) -> None:
        """TLS to a server that speaks none, and none to one that does, end with an error."""
        self.refused("cannot connect to", tls=True)
        self.refused("no connection in time", protocol=Silent, tls=True, timeout=0.3)
        self.serve_tls("localhost")
        figures = self.run_load(Echo)
        self.assertEqual(sum(figures.errors.values()), 3)

    def test_bad_authority(self) -> None:
        """A file with authorities that is missing, or none, gets one line that names it."""
        directory = self.temporary_directory()
        self.refused("--ca: ", "missing.pem", "No such file", tls=True, ca=str(directory / "missing.pem"))
        Path(directory / "no.pem").write_text("hello")
        self.refused("--ca: ", "no.pem cannot be used", tls=True, ca=str(directory / "no.pem"))


class UvloopOpeningTests(UvloopTestCase, OpeningTests):
    """The same on uvloop's."""


class RoomTests(FileLimitsTestCase):
    """Room for open files."""

    def test_enough(self) -> None:
        """A limit that suffices stays."""
        make_room_for(100 - OTHERS)
        self.assertEqual(self.limits, (100, 1000))

    def test_raised(self) -> None:
        """One that does not is raised, as far as needed."""
        make_room_for(500)
        self.assertEqual(self.limits, (500 + OTHERS, 1000))
        self.limits = (100, resource.RLIM_INFINITY)
        make_room_for(5000)
        self.assertEqual(self.limits, (5000 + OTHERS, resource.RLIM_INFINITY))

    def test_not_enough(self) -> None:
        """Where the hard limit is in the way, one line says what to do."""
        with self.assertRaises(LoadError) as caught:
            make_room_for(5000)
        self.assertIn("5000 connections need 5032 open files, and only 1000", str(caught.exception))
        self.assertIn("lower --connections to 968", str(caught.exception))
        self.assertEqual(self.limits, (100, 1000))
