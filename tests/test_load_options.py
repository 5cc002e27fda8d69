"""The load client's command line."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import fields
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from echoactor.load.options import LoadOptions, parse


class OptionsTests(SynchronousTestCase):
    def refused(self, *words: str) -> str:
        """The one line that wrong words are answered with."""
        with redirect_stderr(io.StringIO()) as said, self.assertRaises(SystemExit) as ended:
            parse(words)
        self.assertEqual(ended.exception.code, 2)
        [line] = said.getvalue().splitlines()
        self.assertTrue(line.startswith("echoactor-load: "), line)
        self.assertTrue(line.endswith("; --help lists the options"), line)
        return line

    def test_defaults(self) -> None:
        """A target is enough; the rest is as the dataclass says."""
        self.assertEqual(parse(["localhost:8080"]), LoadOptions(host="localhost", port=8080))

    def test_each_option(self) -> None:
        """Each field can be given on the command line."""
        words = (
            "echo.example:7 -c 5 -s 100 -p 3 -d 2.5 -r 1e4 --timeout 0.5 --tls --ca ca.pem "
            "--server-name other.example --json --csv f.csv --plot f.svg"
        )
        wanted: dict[str, Any] = {
            "host": "echo.example",
            "port": 7,
            "connections": 5,
            "size": 100,
            "pipeline": 3,
            "duration": 2.5,
            "rate": 10_000.0,
            "timeout": 0.5,
            "tls": True,
            "ca": "ca.pem",
            "server_name": "other.example",
            "json": True,
            "csv": "f.csv",
            "plot": "f.svg",
        }
        self.assertEqual(parse(words.split()), LoadOptions(**wanted))
        self.assertTrue(parse("h:1 --tls --insecure".split()).insecure)
        self.assertEqual({field.name for field in fields(LoadOptions)}, wanted.keys() | {"insecure"})

    def test_targets(self) -> None:
        """A target is a host and a port; an IPv6 address stands in brackets."""
        options = parse(["[::1]:8080"])
        self.assertEqual((options.host, options.port, options.target), ("::1", 8080, "[::1]:8080"))
        self.assertEqual(parse(["h:65535"]).target, "h:65535")
        for wrong in "h h: :80 ::1:80 [::1] h:0 h:65536 h:-1 h:x h:1:2 [h:1 h:1\n h:\u0661".split(" "):
            self.assertIn("is not like localhost:8080 or [::1]:8080", self.refused(wrong), wrong)

    def test_wrong_values(self) -> None:
        """A wrong value gets one line with its option, and what would be right."""
        for option in "--connections --size --pipeline".split():
            for value in ("0", "-1", "1.5", "x", "", "\u0661", "9" * 30):
                line = self.refused("h:1", f"{option}={value}")
                self.assertIn(option, line)
                self.assertIn("is not a whole number from 1 on", line)
        for option in "--duration --rate --timeout".split():
            for value in ("0", "-1", "nan", "inf", "1e300", "1e-300", "x", ""):
                line = self.refused("h:1", f"{option}={value}")
                self.assertIn(option, line)
                self.assertIn("is not a number from 1e-9 to 1e15", line)
        self.assertIn("--plot: 'f.txt' does not end in .png", self.refused("h:1", "--plot", "f.txt"))
        self.assertIn("--size: 300000000 bytes, 1 at once, are more", self.refused("h:1", "-s", "300000000"))

    def test_options_without_use(self) -> None:
        """What has no meaning without, or beside, another is refused, and both are named."""
        for words in (["--insecure"], ["--ca", "f"], ["--server-name", "n"]):
            self.assertIn(f"{words[0]}: is of no use without --tls", self.refused("h:1", *words))
        line = self.refused("h:1", "--tls", "--insecure", "--ca", "f")
        self.assertIn("--insecure: trusts any certificate, so --ca is of no use", line)

    def test_unknown_words(self) -> None:
        """A missing target, an unknown option, a shortened one and a word too many are refused."""
        self.assertIn("HOST:PORT", self.refused())
        for words in (["--unknown"], ["--conn", "5"], ["more"]):
            self.assertIn("unrecognized arguments: " + " ".join(words), self.refused("h:1", *words))

    def test_not_printable(self) -> None:
        """What is not printable is escaped, so that the line stays one."""
        self.assertIn(r"\n", self.refused("h:1", "one\ntwo\x1b[31m"))
        self.assertIn(r"\x1b", self.refused("h:1", "one\ntwo\x1b[31m"))

    def test_help(self) -> None:
        """``--help`` and ``--version`` end with status 0; the defaults that the help names are right."""
        for word in ("--help", "--version"):
            with redirect_stdout(io.StringIO()) as said, self.assertRaises(SystemExit) as ended:
                parse([word])
            self.assertEqual(ended.exception.code, 0)
            self.assertIn("echoactor", said.getvalue())
            if word == "--help":
                text = " ".join(said.getvalue().split())
        for name in "connections size pipeline duration timeout".split():
            default = next(field.default for field in fields(LoadOptions) if field.name == name)
            self.assertRegex(text, rf"--{name} \w+ [^-]*\(default {default:g}\)")
