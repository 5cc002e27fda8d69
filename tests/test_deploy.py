"""What is in deploy/ can be used as it stands."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SkipTest

from echoactor import ServerOptions
from echoactor.tap import Options

from .test_command import CommandTestCase

DEPLOY = Path(__file__).parent.parent / "deploy"


class DeployTests(CommandTestCase):
    def tool(self, name: str) -> str:
        """The path of a program that not every machine has."""
        path = shutil.which(name)
        if path is None:
            raise SkipTest(f"{name} is not installed")
        return path

    def parsed(self, arguments: list[str]) -> ServerOptions:
        """What the command's arguments come to."""
        options = Options()
        options.parseOptions(arguments)
        return options.server

    def test_systemd(self) -> None:
        """systemd accepts the units, and finds them well locked up."""
        analyze = self.tool("systemd-analyze")
        unit = (DEPLOY / "echoactor.service").read_text().replace("/opt/echoactor/bin/twistd", "/bin/true")
        (self.directory / "echoactor.service").write_text(unit)
        shutil.copy(DEPLOY / "echoactor.socket", self.directory)
        for file in ("echoactor.service", "echoactor.socket"):
            result = self.run_command(analyze, "verify", file)
            self.assertEqual((result.stdout, result.returncode), ("", 0))
        result = self.run_command(
            analyze, "security", "--offline=true", "--threshold=20", "./echoactor.service"
        )
        self.assertEqual(result.returncode, 0, result.stdout)

    def test_units_fit(self) -> None:
        """The service serves the socket that the other unit names, and has time for its drain."""
        service = (DEPLOY / "echoactor.service").read_text()
        command = re.search(r"ExecStart=(.*)", service)
        name = re.search(r"FileDescriptorName=(.*)", (DEPLOY / "echoactor.socket").read_text())
        stop = re.search(r"TimeoutStopSec=(\d+)", service)
        files = re.search(r"LimitNOFILE=(\d+)", service)
        assert command and name and stop and files
        words = shlex.split(command[1])
        options = self.parsed(words[words.index("echoactor") + 1 :])
        self.assertEqual(options.endpoints, (f"systemd:domain=INET6:name={name[1]}",))
        self.assertGreater(int(stop[1]), options.shutdown_timeout)
        self.assertGreater(int(files[1]), options.max_connections)

    def test_container(self) -> None:
        """The container's command is one, gets its signals itself, and is not root."""
        text = (DEPLOY / "Containerfile").read_text()
        entry, command = (
            json.loads(line.partition(" ")[2])
            for line in text.splitlines()
            if line.startswith(("ENTRYPOINT", "CMD"))
        )
        self.assertEqual(entry[1:], ["--nodaemon", "--pidfile=", "echoactor"])
        self.assertEqual(self.parsed(command), ServerOptions(port=8080))
        self.assertRegex(text, r"\nUSER [1-9]\d*:[1-9]\d*\n")

    def test_kubernetes(self) -> None:
        """The parts name each other, and a pod has time for its preStop and its drain."""
        documents: list[Any] = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
        deployment, service, budget = documents
        self.assertEqual([one["kind"] for one in documents], ["Deployment", "Service", "PodDisruptionBudget"])
        template = deployment["spec"]["template"]
        labels = template["metadata"]["labels"]
        self.assertEqual(deployment["spec"]["selector"]["matchLabels"], labels)
        self.assertEqual(budget["spec"]["selector"]["matchLabels"], labels)
        self.assertEqual(service["spec"]["selector"], labels)
        self.assertLess(budget["spec"]["minAvailable"], deployment["spec"]["replicas"])
        [container] = template["spec"]["containers"]
        [port] = container["ports"]
        options = self.parsed(container["args"])
        self.assertEqual(port["containerPort"], options.port)
        self.assertEqual(service["spec"]["ports"][0]["targetPort"], port["name"])
        for probe in ("startupProbe", "readinessProbe"):
            self.assertEqual(container[probe]["tcpSocket"]["port"], port["name"])
        [_, wait] = container["lifecycle"]["preStop"]["exec"]["command"]
        needed = float(wait) + options.shutdown_timeout
        self.assertGreater(template["spec"]["terminationGracePeriodSeconds"], needed)

    def test_haproxy(self) -> None:
        """HAProxy accepts its configuration, and gives up idle connections before the server does."""
        result = self.run_command(self.tool("haproxy"), "-c", "-f", str(DEPLOY / "haproxy.cfg"))
        self.assertEqual(result.returncode, 0, result.stdout)
        text = (DEPLOY / "haproxy.cfg").read_text()
        idle = ServerOptions().idle_timeout
        assert idle is not None
        for seconds in re.findall(r"timeout (?:client|server)(?:-fin)? (\d+)s", text):
            self.assertLess(int(seconds), idle)
