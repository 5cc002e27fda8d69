"""Neither pytest nor trial silently runs nothing."""

from __future__ import annotations

import subprocess
import sys
import unittest
from functools import cache
from pathlib import Path
from typing import Any

from twisted.trial import runner
from twisted.trial.unittest import SynchronousTestCase

import tests

ROOT = Path(__file__).parent.parent


def flatten(suite: Any) -> list[Any]:
    """The tests of a suite of suites."""
    if isinstance(suite, unittest.TestSuite):
        return [test for part in suite for test in flatten(part)]
    return [suite]


@cache
def in_trial() -> set[str]:
    """The names of the tests that trial finds."""
    return {test.id() for test in flatten(runner.TestLoader().loadPackage(tests, recurse=True))}


class RunnerTests(SynchronousTestCase):
    def test_the_same_tests(self) -> None:
        """What trial runs and what pytest runs are the same tests."""
        listing = subprocess.run(
            [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout
        lines = [line for line in listing.splitlines() if "::" in line]
        in_pytest = {line.replace("/", ".").replace(".py::", ".").replace("::", ".") for line in lines}
        self.assertEqual(in_pytest, in_trial())

    def test_every_module_has_tests(self) -> None:
        """Each test module has at least one test, and each module of the package a test module."""
        modules = {file.stem for file in (ROOT / "tests").glob("test_*.py")}
        self.assertEqual({name.split(".")[1] for name in in_trial()}, modules)
        package = {file.stem for file in (ROOT / "echoactor").glob("*.py")} - {"__init__", "errors"}
        package |= {f"load_{file.stem}" for file in (ROOT / "echoactor" / "load").glob("[!_]*.py")}
        self.assertEqual({f"test_{name}" for name in package} - modules, set())
