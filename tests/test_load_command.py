"""``echoactor-load`` as a user runs it: child processes against a real server."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import resource
import signal
import socket
import subprocess
import sys
import threading
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

from twisted.trial.unittest import SkipTest

from echoactor.load import command

from .test_command import NODAEMON, PATIENCE, CommandTestCase
from .test_load_report import PNG

LOAD = (sys.executable, "-c", "import sys; from echoactor.load.command import main; sys.exit(main())")


class LoadCommandTests(CommandTestCase):
    def load(self, *words: str, timeout: float = PATIENCE, **more: Any) -> tuple[int, str, str]:
        """Run the command; its exit status, and what it wrote to stdout and to stderr."""
        ended = subprocess.run(
            [*LOAD, f"127.0.0.1:{self.port}", "--duration", "0.2", *words],
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            **more,
        )
        self.assertNotIn("Traceback", ended.stderr)
        return ended.returncode, ended.stdout, ended.stderr

    def answer_with(self, answer: bytes) -> None:
        """Listen on ``self.port``, and answer the first message of one client so, then close."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        self.port = listener.getsockname()[1]

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(1)
                client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        self.addCleanup(thread.join)

    def test_echo(self) -> None:
        """Against the echo server: a report, nothing on stderr, status 0; for each kind of load."""
        with self.serving(*NODAEMON, "echoactor", "--port", "0"):
            for words in ([], ["--rate", "1000"], ["-c", "200"], ["-s", "100000", "-p", "3"]):
                status, out, err = self.load(*words)
                self.assertEqual((status, err), (0, ""), out)
                self.assertRegex(out, r"throughput +[0-9,]+ messages/s")
                self.assertIn("errors      none", out)

    def test_five_thousand(self) -> None:
        """Five thousand connections are no problem; the limit on open files is raised as far as needed."""
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if hard != resource.RLIM_INFINITY and hard < 10_100:
            raise SkipTest("too few open files allowed")
        with self.serving(*NODAEMON, "echoactor", "--port", "0"):
            status, out, _ = self.load("-c", "5000", "--json", timeout=3 * PATIENCE)
        report = json.loads(out)
        self.assertEqual((status, report["errors"]), (0, {}))
        self.assertGreaterEqual(report["messages"], 5000)

    def test_files(self) -> None:
        """``--json`` is all of stdout; ``--csv`` and ``--plot`` write their files."""
        with self.serving(*NODAEMON, "echoactor", "--port", "0"):
            status, out, err = self.load(
                "--json", "--csv", "f.csv", "--plot", "f.png", "-d", "1.5", "-r", "100"
            )
        self.assertEqual((status, err), (0, ""))
        report = json.loads(out)
        self.assertEqual((report["messages"] + report["unsent"], report["errors"]), (150, {}))
        rows = list(csv.DictReader((self.directory / "f.csv").read_text().splitlines()))
        self.assertEqual(sum(int(row["messages"]) for row in rows), report["messages"])
        self.assertIn(len(rows), (1, 2))  # one, if the machine stood still when the first second was over
        self.assertTrue((self.directory / "f.png").read_bytes().startswith(PNG))

    def test_wrong_byte(self) -> None:
        """A wrong byte ends with status 1, and the report tells which."""
        self.answer_with(b"x" * 64)
        status, out, _ = self.load("-c", "1")
        self.assertEqual(status, 1)
        self.assertIn("errors      1 wrong byte", out)
        self.assertRegex(
            out, r"connection 0: byte \d+ of its stream was 0x[0-9a-f]{2}, and came back as 0x78"
        )

    def test_lost(self) -> None:
        """A lost connection ends with status 1."""
        self.answer_with(b"")
        status, out, _ = self.load("-c", "1", "--json")
        self.assertEqual((status, json.loads(out)["errors"]), (1, {"connection lost": 1}))

    def test_no_server(self) -> None:
        """Where nobody listens, one line and status 1."""
        with socket.create_server(("127.0.0.1", 0)) as closed:
            self.port = closed.getsockname()[1]
        line = f"echoactor-load: cannot connect to 127.0.0.1:{self.port}: Connection refused\n"
        self.assertEqual(self.load(), (1, "", line))

    def test_bad_usage(self) -> None:
        """A wrong option, and a file that cannot be written, are one line and status 2, before any load."""
        self.port = 9
        for words, text in (
            (["--size", "0"], "--size: 0 is not a whole number"),
            (["--csv", "no/f.csv"], "no/f.csv: No such file or directory"),
            (["--plot", "no/f.png"], "no/f.png: No such file or directory"),
        ):
            out, err = io.StringIO(), io.StringIO()
            with redirect_stdout(out), redirect_stderr(err):
                status = self.main(*words)
            self.assertEqual((status, out.getvalue(), err.getvalue().count("\n")), (2, "", 1))
            self.assertIn(text, err.getvalue())
        self.assertEqual(self.load(*words), (2, "", err.getvalue()))  # as the command itself does

    def main(self, *words: str) -> int | str | None:
        """The exit status of the command in this process, for what ends before any load."""
        try:
            return command.main([f"127.0.0.1:{self.port}", "--duration", "0.2", *words])
        except SystemExit as ended:
            return ended.code

    def test_interrupted(self) -> None:
        """Ctrl-C ends it early, with the report, and status 0 if nothing was wrong."""
        with self.serving(*NODAEMON, "echoactor", "--port", "0"):
            children = {
                number: subprocess.Popen(
                    [*LOAD, f"127.0.0.1:{self.port}", "-d", "600", "--csv", f"{number.name}.csv"],
                    cwd=self.directory,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
                for number in (signal.SIGINT, signal.SIGTERM)
            }
            for number, child in children.items():
                file = self.directory / f"{number.name}.csv"
                self.wait_for(
                    lambda file=file: file.exists() and len(file.read_text().splitlines()) > 1, "a second"
                )
                child.send_signal(number)
                out, _ = child.communicate(timeout=PATIENCE)
                self.assertEqual(child.returncode, 0, out)
                self.assertIn("throughput", out)
                self.assertNotIn("Traceback", out)

    def test_too_many_connections(self) -> None:
        """When there cannot be as many open files, one line says what to do."""
        self.port = 9

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))

        status, out, err = self.load("-c", "1000", preexec_fn=limit)
        self.assertEqual((status, out), (2, ""))
        self.assertIn("1000 connections need 1032 open files, and only 200 are allowed", err)
        with self.serving(*NODAEMON, "echoactor", "--port", "0"):
            self.assertEqual(self.load("-c", "150", preexec_fn=limit)[0], 0)

    def test_terminal(self) -> None:
        """On a terminal it shows the progress there, and the report on stdout."""
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        with self.serving(*NODAEMON, "echoactor", "--port", "0"):
            child = subprocess.Popen(
                [*LOAD, f"127.0.0.1:{self.port}", "-d", "1.2", "--json"],
                stdout=subprocess.PIPE,
                stderr=theirs,
                env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
            )
            os.close(theirs)
            drawn = b""
            try:
                while True:
                    drawn += os.read(ours, 65536)
            except OSError:  # the end of a terminal
                pass
            out, _ = child.communicate(timeout=PATIENCE)
        self.assertEqual((child.returncode, json.loads(out)["errors"]), (0, {}))
        self.assertIn(b"1 of 1.2 s", drawn)
        self.assertIn(b"50 of 50 connections", drawn)

    def test_reader_gone(self) -> None:
        """When nobody reads the report, it ends with one line, and not with status 0."""
        with self.serving(*NODAEMON, "echoactor", "--port", "0"):
            reading, writing = os.pipe()
            os.close(reading)
            ended = subprocess.run(
                [*LOAD, f"127.0.0.1:{self.port}", "-d", "0.2"],
                stdout=writing,
                stderr=subprocess.PIPE,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            os.close(writing)
        self.assertEqual(ended.returncode, 2)
        self.assertEqual(ended.stderr, "echoactor-load: the report cannot be written: Broken pipe\n")

    def test_disk_full(self) -> None:
        """Figures that cannot be written end it with one line."""
        with self.serving(*NODAEMON, "echoactor", "--port", "0"):
            status, out, err = self.load("--csv", "/dev/full")
        self.assertEqual((status, out, len(err.splitlines())), (2, "", 1))
        self.assertIn("the report cannot be written: No space left", err)

    def test_missing_packages(self) -> None:
        """Without a package of the extra, one line says how to get it; only --plot needs matplotlib."""
        for missing in ("hdrh", "matplotlib"):
            self.patch(command, "find_spec", lambda name, missing=missing: None if name == missing else name)
            with redirect_stderr(io.StringIO()) as said:
                self.assertEqual(command.main(["h:1", "--plot", "f.png"]), 2)
            [line] = said.getvalue().splitlines()
            self.assertIn("is missing: pip install 'echoactor[load]'", line)
        self.patch(command, "_run", lambda options, live: 0)
        self.assertEqual(command.main(["h:1"]), 0)

    def test_imports_late(self) -> None:
        """The command line is read without any package of the extra, and the package itself needs none."""
        code = (
            "import sys\n"
            "for name in ('hdrh', 'rich', 'matplotlib'): sys.modules[name] = None\n"
            "import echoactor, echoactor.load.command\n"
            "echoactor.load.command.main(['--help'])"
        )
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
