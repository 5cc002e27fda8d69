"""A line for each connection that is over."""

from __future__ import annotations

import json
import os
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from echoactor import Shutdown
from echoactor.access_log import AccessLog
from echoactor.events import ConnectionClosed

from .support import ActorTestCase, Recorder, log_lines


class AccessLogTests(ActorTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.file = self.temporary_directory() / "access"
        self.address = self.spawn(Recorder, [])

    def log(self, log_format: str) -> AccessLog:
        log = AccessLog(self.system.events, str(self.file), log_format)
        self.addCleanup(lambda: log._file.close())
        return log

    def close(self, peer: Any = None, reason: object = "normal") -> None:
        """Let a connection be over."""
        peer = peer or IPv4Address("TCP", "192.0.2.7", 1234)
        self.system.events.emit(ConnectionClosed(self.address, peer, reason, "TLSv1.3", 5, 7, 1, 1, 1.5))

    def test_text(self) -> None:
        """As text: when, the client, the actor, TLS, bytes in and out, duration, reason."""
        self.log("text")
        self.close(reason=Shutdown("idle timeout"))
        time, rest = self.file.read_text().split(" ", 1)
        self.assertRegex(time, r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d\d\dZ$")
        expected = (
            f"192.0.2.7:1234 {self.address} TLSv1.3 in=5 out=7 1.500s Shutdown(detail='idle timeout')\n"
        )
        self.assertEqual(rest, expected)

    def test_a_peer_that_forges(self) -> None:
        """A client on a UNIX socket, whose name is its own, cannot forge the other fields of its line."""
        self.log("text")
        self.close(UNIXAddress(b"/x - in=1 out=1 0.001s 'normal'\n\\"))
        fields = self.file.read_text().split(" ")
        self.assertEqual(len(fields), 8)
        self.assertEqual(fields[1], r"unix:/x\x20-\x20in=1\x20out=1\x200.001s\x20'normal'\n\ "[:-1])

    def test_pipe_without_a_reader(self) -> None:
        """A pipe that nobody reads is refused, and does not keep the process waiting."""
        os.mkfifo(self.file)
        self.assertRaisesRegex(ValueError, "access_log: .*: No such device or address", self.log, "text")

    def test_leaving_a_full_disk(self) -> None:
        """A file with lines that cannot be written is left all the same, for a new one."""
        lines = log_lines(self)
        log = AccessLog(self.system.events, "/dev/full")
        self.close()
        log._path = str(self.file)
        log.reopen()
        self.close()
        log._file.close()
        self.assertEqual(len(self.file.read_text().splitlines()), 1)
        self.assertEqual([line.rpartition(": ")[2] for line in lines], ["No space left on device"] * 2)

    def test_json(self) -> None:
        """As JSON: the same, with keys that stay."""
        self.log("json")
        self.close(IPv6Address("TCP", "::1", 99))
        [line] = [json.loads(line) for line in self.file.read_text().splitlines()]
        self.assertIn("time", line)
        del line["time"]
        self.assertEqual(
            line,
            {
                "event": "connection",
                "peer": "[::1]:99",
                "actor": str(self.address),
                "tls": "TLSv1.3",
                "bytes_in": 5,
                "bytes_out": 7,
                "duration": 1.5,
                "reason": "normal",
            },
        )

    def test_hostile_names(self) -> None:
        """What a client's address or a reason holds can neither forge a line nor steer a terminal."""
        for log_format in ("text", "json"):
            self.log(log_format)
        self.close(UNIXAddress(b"/tmp/\x1b[2J\n\xff"), "\r\n\x1b]0;x\x07")
        text = self.file.read_text()
        self.assertEqual(len(text.splitlines()), 2)
        self.assertEqual([one for one in text if not one.isprintable() and one != "\n"], [])

    def test_reopen(self) -> None:
        """After a reopen, lines go to a new file in its place; those before stay in the one moved away."""
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.file.parent)
        log = AccessLog(self.system.events, self.file.name)
        self.addCleanup(lambda: log._file.close())
        os.chdir("/")  # as a daemon does
        self.close()
        self.file.rename(self.file.with_suffix(".1"))
        self.close()
        log.reopen()
        self.close()
        counts = [len(file.read_text().splitlines()) for file in (self.file, self.file.with_suffix(".1"))]
        self.assertEqual(counts, [1, 2])

    def test_reopen_fails(self) -> None:
        """When it cannot be opened anew, the old file is written on."""
        log = self.log("text")
        moved = self.file.parent.with_name(self.file.parent.name + ".moved")
        self.file.parent.rename(moved)
        try:
            with self.assertRaises(ValueError) as caught:
                log.reopen()
            self.assertEqual(str(caught.exception), f"access_log: '{self.file}': No such file or directory")
            self.close()
            self.assertEqual(len((moved / "access").read_text().splitlines()), 1)
        finally:
            moved.rename(self.file.parent)

    def test_full_disk(self) -> None:
        """What cannot be written is an error in the log, and the server goes on."""
        lines = log_lines(self, "echoactor.access_log")
        log = AccessLog(self.system.events, "/dev/full")
        self.close()
        self.assertEqual(lines, ["--access-log: '/dev/full': No space left on device"])
        try:
            log._file.close()
        except OSError:
            pass
