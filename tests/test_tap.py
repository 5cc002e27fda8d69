"""Options of the command, and the service they make."""

from __future__ import annotations

from typing import Any

from twisted.application.service import IService
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from echoactor import ActorSystem, Listener
from echoactor.tap import Options, makeService


class OptionsTests(SynchronousTestCase):
    def endpoints(self, *arguments: str) -> list[str]:
        """The endpoints that a command line makes."""
        options = Options()
        options.parseOptions(arguments)
        service: Any = makeService(options)
        [system] = service
        self.assertIsInstance(system, ActorSystem)
        return [listener._description for listener in system if isinstance(listener, Listener)]

    def test_endpoints(self) -> None:
        """A port, endpoints, both, or by default port 8080, with a queue for a thousand clients."""
        default, chosen = "tcp:8080:backlog=1024", "tcp:9:backlog=1024"
        self.assertEqual(self.endpoints(), [default])
        self.assertEqual(self.endpoints("--port", "9"), [chosen])
        self.assertEqual(self.endpoints("-p9"), [chosen])
        self.assertEqual(self.endpoints("-e", "tcp6:1"), ["tcp6:1"])
        self.assertEqual(
            self.endpoints("-p", "9", "-e", "tcp6:1", "--endpoint", "unix:/x"), [chosen, "tcp6:1", "unix:/x"]
        )

    def test_is_a_service(self) -> None:
        """The command is a service that has not started anything yet."""
        options = Options()
        options.parseOptions([])
        service: Any = makeService(options)
        self.assertTrue(IService.providedBy(service))
        self.assertFalse(service.running)

    def test_wrong_options(self) -> None:
        """A wrong option ends the command with one line that names it and the value."""
        for arguments, words in (
            (["--port", "99999"], "--port: '99999' is not a number from 0 to 65535"),
            (["--port", "abc"], "--port: 'abc'"),
            (["--port", "-1"], "--port: '-1'"),
            (["--port", ""], "--port: ''"),
            (["--port", "9" * 5000], "--port: '999"),
            (["--port", "8\u066080"], "--port: "),
            (["--port"], "--port requires argument"),
            (["--prot", "1"], "--prot not recognized"),
            (["--port", "1", "-p", "2"], "--port: given twice"),
            (["8080"], "unexpected argument '8080'"),
        ):
            with self.assertRaises(SystemExit) as caught:
                Options().parseOptions(arguments)
            line = str(caught.exception.code)
            self.assertTrue(line.startswith("echoactor: "), line)
            self.assertIn(words, line)
            self.assertNotIn("\n", line)

    def test_wrong_endpoints(self) -> None:
        """An endpoint string that does not parse ends the command with one line that names it."""
        for description, why in (
            ("nonsense:1", "Unknown endpoint type: 'nonsense'"),
            ("8080", "Unknown endpoint type"),
            ("ssl:1:privateKey=/nowhere", "/nowhere: No such file"),
            ("tcp", "its arguments do not fit its type"),
            ("tcp:x", "its arguments do not fit its type"),
            ("tcp6:::1:8080", "its arguments do not fit its type"),
            ("", "endpoint"),
            (":", "endpoint"),
        ):
            with self.assertRaises(SystemExit) as caught:
                self.endpoints("-e", description)
            line = str(caught.exception.code)
            self.assertIn(f"--endpoint: {description!r} cannot be used: ", line)
            self.assertIn(why, line)
            self.assertIn("written like tcp:8080", line)
            self.assertNotIn("\n", line)

    def test_usage_error_is_ours(self) -> None:
        """Options raise no UsageError, for which twistd would print its whole help first."""
        try:
            Options().parseOptions(["--port", "x"])
        except UsageError:
            self.fail("a UsageError")
        except SystemExit:
            pass
