"""What an operator sees of a server with ``--workers``: metrics, health, the access log, and JSON."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Mapping
from typing import Any

from prometheus_client.parser import text_string_to_metric_families as parse
from twisted.trial.unittest import SkipTest

from .support import storm
from .test_command import NODAEMON, PATIENCE, TWIST
from .test_observing import get
from .test_workers_command import WorkersTestCase

LEFT_OUT = r"worker (\d): \d+ more like this: actor <[^>]*> crashed"

ACCESS = r"(?m)^\S+Z 127\.0\.0\.1:\d+ <worker-([12])\S+> - in=5 out=5 \d+\.\d\d\ds 'normal'$"


class ObservedTestCase(WorkersTestCase):
    def get(self, path: str) -> tuple[int, str]:
        """Status and body of what admin answers."""
        return get(self.wait_for(lambda: re.search(r"port=(\d+)\) \(admin", self.log()), "admin")[1], path)

    def metrics(self, name: str, workers: str = "012") -> Mapping[str, float]:
        """One of the figures, by worker, when all of these answer in time."""

        def look() -> Mapping[str, float] | None:
            status, text = self.get("/metrics")
            self.assertEqual(status, 200)
            samples = [sample for family in parse(text) for sample in family.samples]
            found = {one.labels["worker"]: one.value for one in samples if one.name == f"echoactor_{name}"}
            return found if found.keys() == set(workers) else None

        figures: Mapping[str, float] = self.wait_for(look, f"answers of {workers}")
        return figures

    def access_lines(self) -> list[Any]:
        """What the access log has, in which each line has to be an object."""
        file = self.directory / "access"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def check_both_write(self) -> None:
        """Connections of both workers have one whole line each in the access log."""
        clients = self.open_on_both()
        for client in clients:
            client.close()
        self.wait_for(lambda: len(self.access_lines()) == len(clients), "all lines")
        who = {re.sub(r"<(worker-\d).*", r"\1", line["actor"]) for line in self.access_lines()}
        self.assertEqual(who, {"worker-1", "worker-2"})


class AdminTests(ObservedTestCase):
    def test_all_workers(self) -> None:
        """The parent tells the figures of all workers, and is ready when all of them listen."""
        with self.serving(*NODAEMON, "echoactor", "-p", "0", "--admin", "0") as child:
            self.wait_for(lambda: self.get("/readyz") == (200, "ok\n"), "being ready")
            clients = self.open_on_both()
            accepted = self.metrics("connections_accepted_total")
            self.assertEqual(accepted.keys(), {"0", "1", "2"})
            self.assertEqual((accepted["0"], accepted["1"] + accepted["2"]), (0, len(clients)))
            self.assertTrue(accepted["1"] and accepted["2"], accepted)
            self.assertEqual(self.metrics("connections"), accepted)
            self.assertEqual(self.metrics("connections_limit"), {"0": 0, "1": 5000, "2": 5000})
            self.wait_for(lambda: min(self.metrics("reactor_lag_seconds_count").values()) > 0, "samples")

            os.kill(self.workers[0], signal.SIGKILL)
            self.wait_for(lambda: self.metrics("connections")["1"] == 0, "the restart")
            self.wait_for(lambda: self.get("/readyz")[0] == 200, "being ready again")
            again = self.metrics("connections")
            self.assertEqual((again["1"], again["2"]), (0, accepted["2"]))

            child.terminate()
            self.wait_for(lambda: self.get("/readyz") == (503, "draining\n"), "the drain to show")
            # The other has had nobody to serve, and ends at once.
            self.assertEqual(self.metrics("connections", "02"), {"0": 0, "2": again["2"]})
            for client in clients:
                client.close()
            self.assertEqual(child.wait(PATIENCE), 0)
        self.assertNotIn("Traceback", self.log())

    def test_mute_worker(self) -> None:
        """A worker that does not answer is missing in the metrics, and all are not ready until it does."""
        with self.serving(*NODAEMON, "echoactor", "-p", "0", "--admin", "0"):
            self.metrics("connections")
            os.kill(self.workers[0], signal.SIGSTOP)
            self.assertEqual(self.metrics("connections", "02"), {"0": 0, "2": 0})
            self.wait_for(lambda: self.get("/readyz") == (503, "starting\n"), "not being ready")
            self.assertIn("worker 1 has not answered for 5 s", self.log())
            os.kill(self.workers[0], signal.SIGCONT)
            self.metrics("connections")
            self.wait_for(lambda: self.get("/readyz")[0] == 200, "being ready again")
            self.assertEqual(self.log().count("answers again"), 1)


class AccessLogTests(ObservedTestCase):
    def test_file(self) -> None:
        """All workers write whole lines into one file, and after SIGHUP into a new one."""
        arguments = ("--access-log", "access", "--log-format", "json")
        with self.serving(*NODAEMON, "echoactor", "-p", "0", *arguments) as child:
            self.check_both_write()
            (self.directory / "access").rename(self.directory / "access.1")
            child.send_signal(signal.SIGHUP)
            self.wait_for(lambda: '"message": "reloaded"' in self.log(), "reopening")
            self.check_both_write()
            (self.directory / "access").unlink()
            (self.directory / "access").mkdir()
            child.send_signal(signal.SIGHUP)
            words = "not reloaded: worker 1: access_log: "
            self.wait_for(lambda: words in self.log(), "refusing")
            self.check_one(self.connect())
        self.assertEqual(len((self.directory / "access.1").read_text().splitlines()), 32)
        self.assertNotIn("Traceback", self.log())

    def test_standard_output(self) -> None:
        """With ``-``, they write to the standard output of the command, beside its log."""
        for command in (NODAEMON, TWIST):
            with self.serving(*command, "echoactor", "-p", "0", "--access-log", "-"):
                for client in self.open_on_both():
                    client.close()
                self.wait_for(lambda: len(re.findall(ACCESS, self.log())) == 32, "all lines")
                self.assertEqual(set(re.findall(ACCESS, self.log())), {"1", "2"})

    def test_wrong(self) -> None:
        """A file that workers cannot write ends the command with one line, and status 1."""
        arguments = ("--interface", "127.0.0.1", "--workers", "2", "--access-log", "no/where")
        result = self.run_command(*NODAEMON, "echoactor", "-p", "0", *arguments)
        self.assertEqual(result.returncode, 1)
        self.assertEqual(result.stdout, "echoactor: --access-log: 'no/where': No such file or directory\n")

    def test_full_disk(self) -> None:
        """With nowhere to write to, workers serve on, and follow orders: SIGHUP, and the end."""
        if not os.access("/dev/full", os.W_OK):
            raise SkipTest("there is no /dev/full")
        with self.serving(*NODAEMON, "echoactor", "-p", "0", "--access-log", "/dev/full") as child:
            for client in self.open_on_both():
                client.close()
            self.wait_for(lambda: self.log().count("No space left on device") >= 2, "complaints")
            child.send_signal(signal.SIGHUP)
            self.wait_for(lambda: self.log().count("reloaded") == 3, "both and the command")
            self.check_one(self.connect())
            child.terminate()
            self.assertEqual(child.wait(PATIENCE), 0)
        self.assertNotIn("Traceback", self.log())


class LogTests(ObservedTestCase):
    def test_json(self) -> None:
        """In a storm of crashes, each line of a worker is JSON that names it, and they are few."""
        (self.directory / "sitecustomize.py").write_text(storm(30, b"hello"))
        environment = {**os.environ, "PYTHONPATH": str(self.directory)}
        arguments = ("-p", "0", "--log-format", "json")
        with self.serving(*NODAEMON, "echoactor", *arguments, env=environment) as child:

            def is_told() -> bool:
                """Whether both have told what was left out; that is done with what comes a second later."""
                for client in self.open_on_both():
                    client.close()
                return set(re.findall(LEFT_OUT, self.log())) == {"1", "2"}

            self.wait_for(is_told, "telling what was left out")
            child.terminate()
            self.assertEqual(child.wait(PATIENCE), 0)
        lines = [json.loads(line) for line in self.log().splitlines()]
        by_worker: dict[int, list[Any]] = {1: [], 2: []}
        for line in lines:
            if line["message"].startswith("worker "):
                self.assertEqual(line["message"][:8], f"worker {line['fields']['worker']}")
                by_worker[line["fields"]["worker"]].append(line)
        for said in by_worker.values():
            [listening] = [line for line in said if ": listening on IPv4Address" in line["message"]]
            self.assertLessEqual({"worker", "endpoint"}, set(listening["fields"]))
            crashes = [line for line in said if re.search(r"^worker \d: actor <.*> crashed", line["message"])]
            self.assertIn(len(crashes), range(1, 101))
            for crash in crashes:
                self.assertEqual((crash["level"], crash["logger"]), ("critical", "echoactor.logs"))
                self.assertRegex(
                    crash["traceback"], r"(?s)^Traceback .*ValueError: \x1b\[31m\n{forged} number"
                )
