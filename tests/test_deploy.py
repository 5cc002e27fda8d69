"""What is in deploy/ can be used as it stands."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.metrics_core import CounterMetricFamily
from twisted.trial.unittest import SkipTest

from echoactor import ServerOptions
from echoactor.admin.metrics import HISTOGRAMS, NUMBERS
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
        """What the command's arguments come to for the server."""
        return self.options(arguments).server

    def options(self, arguments: list[str]) -> Options:
        """What the command's arguments come to."""
        options = Options()
        options.parseOptions(arguments)
        return options

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
        port, admin = container["ports"]
        options = self.parsed(container["args"])
        self.assertEqual(port["containerPort"], options.port)
        self.assertEqual(service["spec"]["ports"][0]["targetPort"], port["name"])
        for probe, path in (("startup", "/readyz"), ("readiness", "/readyz"), ("liveness", "/healthz")):
            asked = container[f"{probe}Probe"]["httpGet"]
            self.assertEqual((asked["port"], asked["path"]), (admin["name"], path))
        command = self.options(container["args"])
        self.assertEqual(command["admin"], f"tcp:{admin['containerPort']}")
        [mount] = container["volumeMounts"]
        self.assertEqual(command["admin-token-file"], f"{mount['mountPath']}/token")
        [volume] = template["spec"]["volumes"]
        self.assertEqual(volume["name"], mount["name"])
        [_, wait] = container["lifecycle"]["preStop"]["exec"]["command"]
        needed = float(wait) + options.shutdown_timeout
        self.assertGreater(template["spec"]["terminationGracePeriodSeconds"], needed)

    def test_grafana(self) -> None:
        """The dashboard is JSON, and asks for metrics and labels that there are."""
        dashboard = json.loads((DEPLOY / "grafana.json").read_text())
        panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
        self.assertEqual(len({panel["id"] for panel in dashboard["panels"]}), len(dashboard["panels"]))
        queries = [target["expr"] for panel in panels for target in panel["targets"]]
        asked = {name for query in queries for name in re.findall(r"echoactor_\w+", query)}
        there: set[str] = set()
        labels = {"instance", "worker", "le"}
        for kind, name, *_, label in NUMBERS:
            there.add(f"echoactor_{name}" + ("_total" if kind is CounterMetricFamily else ""))
            labels |= set() if label is None else {label}
        for _, name, *_ in HISTOGRAMS:
            there |= {f"echoactor_{name}_{part}" for part in ("bucket", "sum", "count", "gsum", "gcount")}
        self.assertEqual(asked - there, set())
        self.assertGreater(len(asked), 15)
        used = set(re.findall(r"(\w+)=~?\"", " ".join(queries)))
        for part in re.findall(r"by \(([^)]*)\)", " ".join(queries)):
            used |= set(part.split(", "))
        self.assertEqual(used - labels, set())

    def test_grafana_queries(self) -> None:
        """Prometheus can read each query of the dashboard."""
        promtool = self.tool("promtool")
        dashboard = json.loads((DEPLOY / "grafana.json").read_text())
        queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
        rules = [{"record": f"q{number}", "expr": query} for number, query in enumerate(queries)]
        file = self.directory / "rules.yml"
        text = yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]})
        file.write_text(text.replace("$__rate_interval", "5m").replace("$instance", ".*"))
        result = self.run_command(promtool, "check", "rules", str(file))
        self.assertEqual(result.returncode, 0, result.stdout)

    def test_haproxy(self) -> None:
        """HAProxy accepts its configuration, and gives up idle connections before the server does."""
        result = self.run_command(self.tool("haproxy"), "-c", "-f", str(DEPLOY / "haproxy.cfg"))
        self.assertEqual(result.returncode, 0, result.stdout)
        text = (DEPLOY / "haproxy.cfg").read_text()
        idle = ServerOptions().idle_timeout
        assert idle is not None
        for seconds in re.findall(r"timeout (?:client|server)(?:-fin)? (\d+)s", text):
            self.assertLess(int(seconds), idle)
