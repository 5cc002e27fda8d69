"""The options of a socket server."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, fields
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from echoactor import ServerOptions
from echoactor.options import kind_of


class OptionsTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        """The defaults suit a busy server behind a load balancer or a NAT."""
        options = ServerOptions()
        self.assertGreaterEqual(options.max_connections, 10_000)
        self.assertIsNone(options.max_connections_per_address)
        assert options.idle_timeout is not None
        self.assertGreaterEqual(options.idle_timeout, 60)
        self.assertEqual((options.shutdown_timeout, options.backlog), (15.0, 1024))
        self.assertEqual((options.port, options.endpoints, options.allow, options.deny), (None, (), (), ()))

    def test_frozen(self) -> None:
        """Options do not change, and equal ones are equal."""
        options: Any = ServerOptions(port=1)
        with self.assertRaises(FrozenInstanceError):
            options.port = 2
        self.assertEqual({options, ServerOptions(port=1)}, {options})

    def test_kept(self) -> None:
        """Values are kept in one form, whichever they were given in."""
        endpoint = TCP4ServerEndpoint(MemoryReactorClock(), 1)
        options = ServerOptions(
            allow=["10.0.0.0/8"],
            idle_timeout=3,
            endpoints=["tcp:1", endpoint],
            tls_port=1,
            certificate=Path("x.pem"),  # type: ignore[arg-type]  # any path will do
        )
        self.assertEqual(options.allow, (IPv4Network("10.0.0.0/8"),))
        self.assertEqual(repr(options.idle_timeout), "3.0")
        self.assertEqual(options.endpoints, ("tcp:1", endpoint))
        self.assertEqual(options.certificate, "x.pem")

    def test_wrong(self) -> None:
        """A wrong value is refused with a text that names option and value, and says what is right."""
        wrong: list[tuple[dict[str, Any], str]] = [
            ({"port": -1}, "port: -1 is not a number from 0 to 65535"),
            ({"port": "8080"}, "port: '8080' is not a number from 0"),
            ({"port": True}, "port: True is not"),
            ({"backlog": 0}, "backlog: 0 is not a whole number from 1 on"),
            ({"max_connections": None}, "max_connections: None is not a whole number"),
            ({"max_connections_per_address": 0}, "max_connections_per_address: 0 is not"),
            ({"idle_timeout": 0}, "idle_timeout: 0 is not a number of seconds above 0"),
            ({"idle_timeout": float("nan")}, "idle_timeout: nan is not"),
            ({"shutdown_timeout": float("inf")}, "shutdown_timeout: inf is not"),
            ({"shutdown_timeout": None}, "shutdown_timeout: None is not"),
            ({"close_timeout": True}, "close_timeout: True is not"),
            ({"max_write_buffer": -1}, "max_write_buffer: -1 is not"),
            ({"allow": "10.0.0.1"}, "allow: '10.0.0.1' is a text where a list of networks is wanted"),
            ({"deny": ["x"]}, "deny: 'x' is no network"),
            ({"allow": 7}, "allow: "),
            ({"endpoints": "tcp:1"}, "endpoints: 'tcp:1' is a text where a list of endpoints is wanted"),
            ({"endpoints": [1]}, "endpoints: 1 is neither an endpoint nor its description"),
            ({"interface": "localhost"}, "interface: 'localhost' is no address of this host's"),
            ({"interface": "127.0.0.0/8"}, "interface: '127.0.0.0/8' is no address"),
            ({"interface": None}, "interface: None is no address"),
            ({"reuse_port": 1}, "reuse_port: 1 is neither True nor False"),
            ({"tls_port": 1}, "tls_port: needs `certificate` or `certificate_directory`"),
            ({"certificate": ""}, "certificate: '' is not the path of a file"),
            ({"certificate": 1}, "certificate: 1 is not the path of a file"),
            ({"certificate": "x"}, "certificate: 'x' is of no use without `tls_port`"),
            ({"client_ca": "x"}, "client_ca: 'x' is of no use without `tls_port`"),
            (
                {"private_key": "x", "tls_port": 1, "certificate_directory": "y"},
                "private_key: 'x' needs `certificate`",
            ),
        ]
        for options, words in wrong:
            with self.assertRaises(ValueError) as caught:
                ServerOptions(**options)
            self.assertIn(words, str(caught.exception))

    def test_documented(self) -> None:
        """Each option says what it means, in the class's documentation and in that of its operators."""
        operations = (Path(__file__).parent.parent / "docs" / "operations.rst").read_text()
        for option in fields(ServerOptions):
            self.assertIn(f":param {option.name}: {option.metadata['help']}", ServerOptions.__doc__ or "")
            name = {"endpoints": "endpoint"}.get(option.name, option.name).replace("_", "-")
            self.assertRegex(operations, rf"\n(``-[^`]*``, )*``--{name}\b")

    def test_defaults_are_said(self) -> None:
        """Where the meaning of an option tells its default, it is the default."""
        for option in fields(ServerOptions):
            said = re.search(r"Default ([\d.]+)( MiB)?", option.metadata["help"])
            if said:
                size = 1024 * 1024 if said[2] else 1
                self.assertEqual(float(said[1].rstrip(".")) * size, option.default, option.name)
            elif isinstance(option.default, (int, float)) and not isinstance(option.default, bool):
                self.fail(f"the meaning of {option.name} does not say its default")

    def test_words_of_the_command(self) -> None:
        """A word of the command line becomes a value of its kind."""
        for name, text, value in (
            ("port", "8080", 8080),
            ("port", "none", None),
            ("idle_timeout", "2.5", 2.5),
            ("idle_timeout", "none", None),
            ("allow", "10.0.0.0/8", (IPv4Network("10.0.0.0/8"),)),
            ("reuse_port", "yes", True),
        ):
            self.assertEqual(kind_of(name).parse(text), value)
        for name, text in (
            *(("port", text) for text in ("abc", "", "8\u066080", "+1", "1_0", "9" * 5000)),
            *(("idle_timeout", text) for text in ("soon", "")),
            ("shutdown_timeout", "none"),
            ("allow", "10.0.0.0/8,"),
        ):
            with self.assertRaises(ValueError):
                kind_of(name).check(kind_of(name).parse(text))
