"""Events reach those who listen, and cost nothing else."""

import re
from dataclasses import fields
from pathlib import Path
from unittest import mock

from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from echoactor import events
from echoactor.errors import ActorExit
from echoactor.events import (
    ActorEnded,
    ActorSpawned,
    DeadLetter,
    Events,
)

from .support import ActorTestCase, Adder, Recorder


class EventsTests(SynchronousTestCase):
    def test_subscribe(self) -> None:
        """A listener gets the events of its class, in order, and no others."""
        stream, heard = Events(), list[object]()
        stream.subscribe(int, heard.append)
        for event in (1, "other", 2):
            stream.emit(event)
        self.assertEqual(heard, [1, 2])

    def test_unsubscribe(self) -> None:
        """The function that subscribe returns ends that one subscription, once."""
        stream, heard = Events(), list[object]()
        stop = stream.subscribe(int, heard.append)
        stream.subscribe(int, heard.append)
        stop()
        stop()
        stream.emit(1)
        self.assertEqual(heard, [1])
        self.assertIn(int, stream)

    def test_nobody_listens(self) -> None:
        """A class of events that nobody listens to any more is not in the stream."""
        stream = Events()
        stream.subscribe(int, print)()
        self.assertNotIn(int, stream)

    def test_listener_that_fails(self) -> None:
        """What a listener raises is logged and keeps the event from nobody."""
        stream, heard = Events(), list[object]()

        errors: list[BaseException] = [ZeroDivisionError(), ActorExit("normal"), GeneratorExit()]

        def fail(number: int) -> None:
            raise errors[number]

        stream.subscribe(int, fail)
        stream.subscribe(int, heard.append)
        for number in range(len(errors)):
            stream.emit(number)
            self.assertEqual(heard.pop(), number)
            self.assertEqual(len(self.flushLoggedErrors()), 1)


class DocumentTests(SynchronousTestCase):
    def test_table(self) -> None:
        """docs/observing.rst lists each event with all its fields, in their order, and no other."""
        text = (Path(__file__).parent.parent / "docs" / "observing.rst").read_text()
        table = text[text.index("\nEvents\n---") :]
        rows = re.findall(r"\n``([A-Z]\w+)`` +((?:``\w+``,?\s+)*``\w+``)", table)
        documented = {name: re.findall(r"\w+", names) for name, names in rows}
        kinds = {name: getattr(events, name) for name in events.__all__ if name != "Events"}
        self.assertEqual(
            documented, {name: [one.name for one in fields(kind)] for name, kind in kinds.items()}
        )


class RuntimeEventTests(ActorTestCase):
    def test_life_of_an_actor(self) -> None:
        """Spawn and end of an actor are events, with its address and reason."""
        heard: list[object] = []
        for kind in (ActorSpawned, ActorEnded):
            self.system.events.subscribe(kind, heard.append)
        address = self.spawn(Recorder, [])
        address.exit("shutdown")
        self.settle()
        self.assertEqual(heard, [ActorSpawned(address), ActorEnded(address, "shutdown")])

    def test_crash_log(self) -> None:
        """A crash is one log event, critical, with the actor's address and the traceback."""
        logged: list[LogEvent] = []
        observer = implementer(ILogObserver)(lambda event: logged.append(event))
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        address = self.spawn(Adder)
        address.send(ZeroDivisionError("boom"))
        self.settle()
        [event] = [event for event in logged if event.get("log_namespace") == "echoactor.logs"]
        self.assertEqual((event["log_level"], event["address"]), (LogLevel.critical, str(address)))
        self.assertIn("in receive", event["log_failure"].getTraceback())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_dead_letter(self) -> None:
        """A message to a dead address is an event."""
        heard: list[object] = []
        self.system.events.subscribe(DeadLetter, heard.append)
        address = self.spawn(Recorder, [])
        address.exit("kill")
        self.settle()
        address.send("late")
        self.assertEqual(heard, [DeadLetter(address, "late")])

    def test_free_when_nobody_listens(self) -> None:
        """No event object is made for a class without listeners, in the whole life of an actor."""
        made: list[str] = []
        kinds = [name for name in events.__all__ if isinstance(getattr(events, name), type)]
        kinds = [name for name in kinds if name not in ("Events", "ActorCrashed")]
        self.assertGreater(len(kinds), 4)
        for name in kinds:
            kind = getattr(events, name)
            self.patch(kind, "__init__", lambda *args, name=name: made.append(name))
        address = self.spawn(Adder)
        address.send(1)
        address.exit("shutdown")
        self.settle()
        address.send("late")
        self.assertEqual((made, self.system.dead_letters), ([], 1))
        self.system.events.subscribe(ActorSpawned, mock.Mock())
        self.spawn(Adder)
        self.assertEqual(made, ["ActorSpawned"])
