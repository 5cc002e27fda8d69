"""Telling systemd."""

from __future__ import annotations

import socket
import time

from echoactor.notify import Notifier

from .support import ActorTestCase, log_lines


class NotifierTests(ActorTestCase):
    def listen(self, name: str) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(listener.close)
        listener.bind(name)
        listener.settimeout(5)
        return listener

    def test_states(self) -> None:
        """Each state arrives as systemd wants it, at a path and at an abstract name."""
        path = str(self.temporary_directory() / "notify")
        abstract = f"echoactor-test-{time.monotonic_ns()}"
        for bound, given in ((path, path), ("\0" + abstract, "@" + abstract)):
            listener = self.listen(bound)
            notifier = Notifier({"NOTIFY_SOCKET": given})
            notifier.ready()
            self.assertEqual(listener.recv(1000), b"READY=1")
            before = time.monotonic_ns() // 1000
            notifier.reloading()
            state, _, moment = listener.recv(1000).decode().partition("\nMONOTONIC_USEC=")
            self.assertEqual(state, "RELOADING=1")
            self.assertTrue(before <= int(moment) <= time.monotonic_ns() // 1000)
            notifier.stopping()
            self.assertEqual(listener.recv(1000), b"STOPPING=1")

    def test_nobody_asked(self) -> None:
        """Without NOTIFY_SOCKET nothing happens."""
        lines = log_lines(self)
        for environment in ({}, {"NOTIFY_SOCKET": ""}):
            Notifier(environment).ready()
        self.assertEqual(lines, [])

    def test_broken(self) -> None:
        """A socket that cannot be reached costs one line, and nothing more."""
        lines = log_lines(self, "echoactor.notify")
        for name in ("/nowhere/notify", "x" * 200, "\0\0"):
            notifier = Notifier({"NOTIFY_SOCKET": name})
            notifier.ready()
            notifier.stopping()
        self.assertEqual(len(lines), 3)
