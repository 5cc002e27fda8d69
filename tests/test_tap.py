"""Options of the command, and the service they make."""

from __future__ import annotations

import os
from contextlib import redirect_stdout
from dataclasses import fields
from io import StringIO
from typing import Any

from hypothesis import given, strategies as st
from twisted.application.service import IService
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from echoactor import ServerOptions
from echoactor.networks import Networks
from echoactor.options import kind_of
from echoactor.tap import Options, makeService

WORDS = [
    *("--" + option.name.replace("_", "-") for option in fields(ServerOptions)),
    *("--" + name for name, *_ in Options.optParameters),
    *("-p", "-e", "--udp", "--endpoint", "--help", "--version", "--", "-", "0", "1", "1.5", "none", "tcp:0"),
    *("10.0.0.0/8", "::1", "x.pem", "--port=1", "--allow=,", "--reuse-port=1"),
]


class OptionsTests(SynchronousTestCase):
    def parsed(self, *arguments: str) -> ServerOptions:
        """What a command line comes to."""
        options = Options()
        options.parseOptions(arguments)
        return options.server

    def check_wrong(self, arguments: tuple[str, ...], words: str) -> str:
        """A command line ends the command with one line."""
        options = Options()
        with self.assertRaises(SystemExit) as caught:
            options.parseOptions(arguments)
            makeService(options)
        line = str(caught.exception.code)
        self.assertTrue(line.startswith("echoactor: "), line)
        self.assertIn(words, line)
        self.assertNotIn("\n", line)
        return line

    def test_where_to_listen(self) -> None:
        """A port, endpoints, both, or by default port 8080."""
        self.assertEqual(self.parsed(), ServerOptions(port=8080))
        self.assertEqual(self.parsed("--port", "9"), ServerOptions(port=9))
        self.assertEqual(self.parsed("-p9"), ServerOptions(port=9))
        self.assertEqual(self.parsed("-e", "tcp6:1"), ServerOptions(endpoints=("tcp6:1",)))
        both = self.parsed("-p", "9", "-e", "tcp6:1", "--endpoint", "unix:/x")
        self.assertEqual(both, ServerOptions(port=9, endpoints=("tcp6:1", "unix:/x")))

    def test_workers(self) -> None:
        """What does not go with workers is one line that names the option."""
        self.check_wrong(("--workers", "0"), "--workers: 0 is not a whole number from 1 on")
        self.check_wrong(("--workers", "x"), "--workers: 'x' is not a number")
        few = ("--workers", "3", "--max-connections", "2")
        self.check_wrong(few, "--workers: 3 cannot share --max-connections 2")

    def test_each_option(self) -> None:
        """Each field of the server's options is an option of the command."""
        words = {
            "port": ("1", 1),
            "tls_port": ("2", 2),
            "endpoints": ("tcp:3", ("tcp:3",)),
            "interface": ("127.0.0.1", "127.0.0.1"),
            "reuse_port": (None, True),
            "backlog": ("4", 4),
            "max_connections": ("5", 5),
            "max_connections_per_address": ("6", 6),
            "allow": ("10.0.0.0/8,::1", Networks(["10.0.0.0/8", "::1"])),
            "deny": ("10.1.0.0/16", Networks(["10.1.0.0/16"])),
            "trusted_proxies": ("10.2.0.0/16", Networks(["10.2.0.0/16"])),
            "idle_timeout": ("none", None),
            "handshake_timeout": ("7.5", 7.5),
            "close_timeout": ("8", 8.0),
            "shutdown_timeout": ("9", 9.0),
            "max_write_buffer": ("10", 10),
            "certificate": ("a.pem", os.path.abspath("a.pem")),
            "private_key": ("b.pem", os.path.abspath("b.pem")),
            "certificate_directory": ("c", os.path.abspath("c")),
            "client_ca": ("d.pem", os.path.abspath("d.pem")),
        }
        self.assertEqual(list(words), [option.name for option in fields(ServerOptions)])
        arguments: list[str] = []
        for name, (text, _) in words.items():
            arguments.append("--" + {"endpoints": "endpoint"}.get(name, name).replace("_", "-"))
            arguments.extend([] if text is None else [text])
        expected: Any = {name: value for name, (_, value) in words.items()}
        self.assertEqual(self.parsed(*arguments), ServerOptions(**expected))

    def test_lists_add_up(self) -> None:
        """A list may be given in pieces."""
        networks = self.parsed("--deny", "10.0.0.0/8,192.0.2.1", "--deny", "::1").deny
        self.assertEqual(networks, Networks(["10.0.0.0/8", "192.0.2.1", "::1"]))

    def test_help(self) -> None:
        """The help has each option with its meaning, in the command's own names."""
        text = " ".join(str(Options()).split())
        for words in (
            "-p, --port= TCP port to listen on",
            "-e, --endpoint= server endpoint",
            "--tls-port= TCP port for TLS; needs --certificate or --certificate-directory",
            "--max-connections-per-address=",
            "--reuse-port let several processes",
        ):
            self.assertIn(words, text)
        self.assertNotIn("`", text)

    def test_is_a_service(self) -> None:
        """The command is a service that has not started anything yet."""
        options = Options()
        options.parseOptions([])
        service: Any = makeService(options)
        self.assertTrue(IService.providedBy(service))
        self.assertFalse(service.running)

    def test_wrong_options(self) -> None:
        """A wrong option ends the command with one line that names it and the value."""
        wrong: list[tuple[tuple[str, ...], str]] = [
            (("--port", "99999"), "--port: 99999 is not a number from 0 to 65535"),
            (("--port", "abc"), "--port: 'abc' is not a number"),
            (("--port", "-1"), "--port: '-1'"),
            (("--port", ""), "--port: ''"),
            (("--port", "9" * 5000), "--port: '999"),
            (("--port", "8\u066080"), "--port: "),
            (("--port",), "--port requires argument"),
            (("--prot", "1"), "--prot not recognized"),
            (("--port", "1", "-p", "2"), "--port: given twice; give further ports as --endpoint tcp:PORT"),
            (("--backlog", "1", "--backlog", "1"), "--backlog: given twice"),
            (("--idle-timeout", "0"), "--idle-timeout: 0.0 is not a number of seconds above 0"),
            (("--idle-timeout", "soon"), "--idle-timeout: 'soon' is not a number"),
            (("--max-connections", "none"), "--max-connections: 'none' is not a number"),
            (("--allow", "10.0.0.1/8"), "--allow: '10.0.0.1/8' has bits set after its prefix"),
            (("--tls-port", "1"), "--tls-port: needs --certificate or --certificate-directory"),
            (("--client-ca", "/x"), "--client-ca: '/x' is of no use without --tls-port"),
            (("--reuse-port=yes",), "--reuse-port"),
            (("8080",), "unexpected argument '8080'"),
        ]
        for arguments, words in wrong:
            self.check_wrong(arguments, words)

    def test_wrong_endpoints(self) -> None:
        """An endpoint string that does not parse ends the command with one line that names it."""
        for description in ("nonsense:1", "8080", "tcp:x", "", ":"):
            line = self.check_wrong(("-e", description), f"--endpoint: {description!r} cannot be used: ")
            self.assertIn("written like tcp:8080", line)

    @given(st.lists(st.sampled_from(WORDS) | st.text(max_size=20), max_size=6))
    def test_fuzzed(self, arguments: list[str]) -> None:
        """Whatever the words of a command line, it is understood, or ends with one line of ours."""
        options = Options()
        try:
            with redirect_stdout(StringIO()):  # for --help and --version
                options.parseOptions(arguments)
        except SystemExit as end:
            if isinstance(end.code, str):
                self.assertTrue(end.code.startswith("echoactor: "), end.code)
                self.assertEqual(len(end.code.splitlines()), 1, end.code)
            else:
                self.assertIn(end.code, (0, None))

    @given(st.sampled_from([option.name for option in fields(ServerOptions)]), st.text(max_size=20))
    def test_fuzzed_values(self, name: str, text: str) -> None:
        """Whatever text an option is given, it is a value of its kind, or refused."""
        kind = kind_of(name)
        try:
            value = kind.check(kind.parse(text))
        except ValueError as error:
            self.assertTrue(str(error))
        else:
            self.assertEqual(kind.check(value), value)

    def test_usage_error_is_ours(self) -> None:
        """Options raise no UsageError, for which twistd would print its whole help first."""
        try:
            Options().parseOptions(["--port", "x"])
        except UsageError:
            self.fail("a UsageError")
        except SystemExit:
            pass
