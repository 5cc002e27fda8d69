"""
Twisted's tests of its own reactors, run against one reactor.

usage: python -m tests.twisted_suite REACTOR   (uvloop, epoll)

It runs in a process of its own, because Twisted makes the test classes while
their modules are imported, for the reactors that are listed then. It prints
one JSON object: how many tests ran, which failed and how, which were skipped and why.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from tempfile import TemporaryDirectory
from typing import Any
from unittest import TestCase, TestResult, TestSuite, defaultTestLoader

from twisted.internet.test.reactormixins import ReactorBuilder

REACTORS = {
    "uvloop": "tests.twisted_suite.uvloop_reactor",
    "epoll": "twisted.internet.epollreactor.EPollReactor",
}
MODULES = "tcp tls unix core time fdset threads socket udp stdio process".split()
SECONDS = 30
"""For one test. They take milliseconds, unless something hangs."""


def uvloop_reactor(case: Any) -> Any:
    """Make a reactor on a loop that is closed after the test."""
    import uvloop

    from echoactor.uvloopreactor import UvloopReactor

    loop = uvloop.new_event_loop()
    case.addCleanup(loop.close)
    return UvloopReactor(loop)


def suite(reactor: str) -> TestSuite:
    """The tests for one reactor."""
    ReactorBuilder._reactors = [REACTORS[reactor]]
    tests = TestSuite()
    for name in MODULES:
        module = import_module(f"twisted.internet.test.test_{name}")
        for value in vars(module).values():
            if isinstance(value, type) and getattr(value, "reactorFactory", None) is not None:
                assert issubclass(value, TestCase)
                value.timeout = SECONDS  # type: ignore[attr-defined]  # of trial's
                tests.addTests(defaultTestLoader.loadTestsFromTestCase(value))
    return tests


def main(reactor: str) -> None:
    result = TestResult()
    with TemporaryDirectory() as directory:  # their own files go where they are run
        os.chdir(directory)
        suite(reactor).run(result)
        os.chdir("/")

    def name_of(test: Any) -> str:
        return ".".join(test.id().split(".")[-2:]).replace(REACTORS[reactor].rpartition(".")[2], "")

    print(
        json.dumps(
            {
                "ran": result.testsRun,
                "failed": {name_of(test): text for test, text in result.failures + result.errors},
                "skipped": {name_of(test): text for test, text in result.skipped},
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
