"""The log: text or JSON, escaped, and never too much of the same."""

from __future__ import annotations

import io
import json
from typing import Any

from twisted.logger import (
    FileLogObserver,
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    LogPublisher,
    formatEvent,
)
from twisted.python import log as old_log, syslog
from twisted.python.failure import Failure
from twisted.python.reflect import namedAny
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from echoactor import log_output
from echoactor.log_output import FORMATS, KINDS, RATION, Rationed, as_json, as_text, choose

HOSTILE = "\x1b[2J\x1b[31mred\r\n2026-01-01 forged line\u202e\x9b\x00"


class FormatTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.events: list[LogEvent] = []
        self.log = Logger(
            "test.log",
            observer=LogPublisher(implementer(ILogObserver)(lambda event: self.events.append(event))),
        )

    def test_json(self) -> None:
        """A line has the time, the level, who logs, the message, and what it is made of."""
        self.log.warn(
            "{count} from {peer}, {thing}", count=3, peer="10.0.0.1", thing=object, none=float("nan")
        )
        self.events[0]["log_time"] = 0.5
        text = as_json(self.events[0])
        assert text is not None
        line = json.loads(text)
        message = line.pop("message")
        self.assertEqual(message, f"3 from 10.0.0.1, {object}")
        self.assertEqual(
            line,
            {
                "time": "1970-01-01T00:00:00.500Z",
                "level": "warn",
                "logger": "test.log",
                "fields": {"count": 3, "peer": "10.0.0.1"},
            },
        )

    def test_json_failure(self) -> None:
        """A failure has its traceback, in the same line."""
        try:
            raise ValueError(HOSTILE)
        except ValueError:
            self.log.failure("it broke")
        text = as_json(self.events[0])
        assert text is not None
        self.assertEqual((text.count("\n"), text.isascii()), (1, True))
        line = json.loads(text)
        self.assertEqual((line["level"], line["message"]), ("critical", "it broke"))
        self.assertIn("in test_json_failure", line["traceback"])

    def test_json_old_events(self) -> None:
        """What is logged in Twisted's old way has the fields that it was given, and none of Twisted's own."""
        publisher = LogPublisher(implementer(ILogObserver)(lambda event: self.events.append(event)))
        log = old_log.LogPublisher(LogPublisher(), publisher)
        log.msg("it is", "old", peer="10.0.0.1")
        log.msg(format="it is %(what)s", what="older")
        log.msg(failure=Failure(ValueError("no")), why="it broke", isError=1, count=3)
        lines = [json.loads(as_json(event) or "") for event in self.events]
        self.assertEqual(
            [line["message"].splitlines()[0] for line in lines], ["it is old", "it is older", "it broke"]
        )
        self.assertEqual(
            [line["fields"] for line in lines], [{"peer": "10.0.0.1"}, {"what": "older"}, {"count": 3}]
        )

    def test_hostile_text(self) -> None:
        """No control character of what is logged reaches the file, and no line can be forged."""
        self.log.error("from {name}", name=HOSTILE)
        for write in FORMATS.values():
            text = write(self.events[0])
            assert text is not None
            self.assertTrue(text.replace("\n", "").replace("\t", "").isprintable(), text)
            self.assertEqual([line for line in text.splitlines() if line.startswith("2026-01-01 forged")], [])

    def test_hostile_traceback(self) -> None:
        """Neither does one of an exception's text."""
        try:
            raise ValueError(HOSTILE)
        except ValueError:
            self.log.failure("it broke")
        text = as_text(self.events[0])
        assert text is not None
        self.assertNotIn("\x1b", text)
        self.assertIn("\\x1b[31mred", text)

    def test_nothing_to_say(self) -> None:
        """An event without a text is no line, unless it has a failure, which has one."""
        for write in FORMATS.values():
            self.assertIsNone(write({"log_format": "", "log_time": 0.0}))
            line = write({"log_format": "", "log_time": 0.0, "log_failure": Failure(ValueError("no"))})
            self.assertIn("ValueError: no", line or "")
        self.assertEqual(json.loads(line or "")["message"], "no")


class RationTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.lines: list[str] = []
        self.waiting: list[Any] = []  # for a second to be over
        self.rationed = Rationed(lambda event: self.lines.append(formatEvent(event)), self.waiting.append)

    def emit(self, text: str, time: float, level: Any = LogLevel.error, **more: Any) -> None:
        self.rationed(
            {"log_format": text, "log_level": level, "log_namespace": "x", "log_time": time, **more}
        )

    def test_a_storm(self) -> None:
        """Of the same error some lines a second are written; then how many more there were."""
        for second in (5.5, 6.5, 4.5):  # the clock is set back
            for number in range(1000):
                self.emit("{peer} is bad", second, peer=number)
        written = [f"{number} is bad" for number in range(RATION)]
        told = "990 more like this: 10 is bad"
        self.assertEqual(self.lines, [*written, told, *written, told, *written])

    def test_quiet_after_a_storm(self) -> None:
        """How many more there were is told when the second is over, also if nothing else is logged."""
        for number in range(RATION + 5):
            self.emit("{peer} is bad", 5.5, peer=number)
        [tell] = self.waiting
        tell()
        self.assertEqual(self.lines[RATION:], ["5 more like this: 10 is bad"])
        for number in range(RATION + 5):
            self.emit("{peer} is bad", 6.0, peer=number)
        self.emit("something else", 7.0)
        del self.lines[:]
        for tell in self.waiting:  # it was told
            tell()
        self.assertEqual((self.lines, len(self.waiting)), ([], 2))

    def test_others_are_heard(self) -> None:
        """A storm keeps no other error from being written, nor its words from another exception or logger."""
        for _ in range(100):
            self.emit("storm", 1, log_failure=Failure(ValueError("a")))
        self.emit("storm", 1, log_failure=Failure(KeyError("b")))
        self.emit("storm", 1, log_failure=Failure(ValueError("a")), log_namespace="y")
        self.emit("calm", 1)
        self.assertEqual(self.lines[RATION:], ["storm", "storm", "calm"])

    def test_debug(self) -> None:
        """Lines of debugging are not counted."""
        for _ in range(100):
            self.emit("much", 1, LogLevel.debug)
        self.assertEqual(len(self.lines), 100)

    def test_ever_new_texts(self) -> None:
        """An error whose text is new each time is held, too, and costs no memory for ever."""
        for number in range(KINDS + 1000):
            self.emit("{log_text}", 1, log_text=f"printed {number}")
        self.assertEqual(len(self.lines), KINDS + RATION)
        self.emit("end", 2)
        self.assertEqual(self.lines[-2:], ["990 more like this: lines of other kinds", "end"])


class ChoiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.waiting: list[Any] = []  # for a second to be over
        self.patch(log_output, "in_a_second", self.waiting.append)

    def log_much(self, observer: Any) -> None:
        """Let it have much of the same."""
        for _ in range(100):
            observer({"log_format": "same", "log_time": 0.0, "log_level": LogLevel.error})
        self.assertEqual(len(self.waiting), 1)

    def test_twist(self) -> None:
        """Under twist, the format is set for it, with its own file."""
        twist: dict[str, Any] = {"fileLogObserverFactory": FileLogObserver, "logFormat": "json"}
        self.assertEqual(choose(None, twist), "json")
        file = io.StringIO()
        observer = twist["fileLogObserverFactory"](file)
        self.log_much(observer)
        self.assertEqual(
            [json.loads(line)["message"] for line in file.getvalue().splitlines()], ["same"] * RATION
        )

    def test_syslog(self) -> None:
        """Under twistd with its syslog, that gets no more of the same either."""
        lines: list[str] = []
        self.patch(syslog.SyslogObserver, "openlog", staticmethod(lambda *_: None))
        self.patch(syslog.SyslogObserver, "syslog", staticmethod(lambda _, line: lines.append(line)))
        twistd: dict[str, Any] = {"syslog": True, "prefix": "test"}
        self.assertEqual(choose(None, twistd), "text")
        self.log_much(namedAny(twistd["logger"])())
        self.assertEqual(lines, ["[-] same"] * RATION)

    def test_syslog_printable(self) -> None:
        """What comes from outside is escaped in the syslog too, and can forge no line there."""
        lines: list[str] = []
        self.patch(syslog.SyslogObserver, "openlog", staticmethod(lambda *_: None))
        self.patch(syslog.SyslogObserver, "syslog", staticmethod(lambda _, line: lines.append(line)))
        twistd: dict[str, Any] = {"syslog": True, "prefix": "test"}
        choose(None, twistd)
        Logger("test", observer=namedAny(twistd["logger"])()).info("{name}", name=HOSTILE)
        self.assertEqual(
            lines,
            [
                r"[-] \x1b[2J\x1b[31mred\r",
                "[-] \t" + r"2026-01-01 forged line\u202e\x9b\x00",
            ],
        )

    def test_conflicts(self) -> None:
        """A format does not go with twistd's syslog, nor with an observer of the user's own."""
        for twistd in ({"syslog": True}, {"logger": "mine"}):
            error = self.assertRaises(ValueError, choose, "json", twistd)
            self.assertIn(f"--{next(iter(twistd))}", str(error))

    def test_users_own(self) -> None:
        """An observer of the user's own is left alone."""
        twistd = {"logger": "mine"}
        choose(None, twistd)
        self.assertEqual(twistd, {"logger": "mine"})
