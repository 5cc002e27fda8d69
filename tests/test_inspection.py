"""Looking inside."""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.defer import Deferred

from echoactor import (
    Actor,
    BackOff,
    ChildSpec,
    CoroutineActor,
    DynamicSupervisor,
    Supervisor,
    SupervisorSpec,
)
from echoactor.inspection import SHOWN, ActorInfo

from .support import ActorTestCase, Adder, Recorder, adder


class InfoTests(ActorTestCase):
    def info(self, address: Any) -> ActorInfo:
        info = self.system.info(address)
        assert info is not None
        return info

    def test_actor(self) -> None:
        """An actor's info tells what it is, where it is in its life, and whom it knows."""
        children: list[Any] = []

        class Parent(Actor):
            def receive(self, message: Any) -> None:
                children.append(self.spawn(Adder, link=True, monitor=True))

        self.clock.advance(100)
        parent = self.spawn(Parent)
        self.system.register("parent", parent)
        self.clock.advance(5)
        parent.send("go")
        self.settle()
        [child] = children
        self.assertEqual(
            self.info(parent),
            ActorInfo(
                parent,
                "InfoTests.test_actor.<locals>.Parent",
                "parent",
                "waiting",
                mailbox=0,
                handled=1,
                links=(child,),
                monitors=(child,),
                parent=None,
                age=5.0,
            ),
        )
        self.assertEqual((self.info(child).parent, self.info(child).age), (parent, 0.0))

    def test_lives(self) -> None:
        """The states of life have names."""
        never: Deferred[None] = Deferred()

        async def looks(me: CoroutineActor) -> None:
            await me.receive(str)

        async def awaits(me: CoroutineActor) -> None:
            await never

        lives = {}
        for style, life in ((adder, "waiting"), (looks, "looking"), (awaits, "awaiting")):
            address = self.system.spawn(style)
            self.assertEqual(self.info(address).life, "new")
            self.settle()
            self.assertEqual(
                (self.info(address).life, self.info(address).kind[-5:]), (life, style.__name__[-5:])
            )
            lives[life] = address
        lives["waiting"].send(1)
        never.callback(None)
        self.assertEqual(self.info(lives["waiting"]).life, "runnable")
        self.assertEqual(self.info(lives["awaiting"]).life, "resumable")
        lives["looking"].exit("shutdown")
        self.assertEqual(self.info(lives["looking"]).life, "doomed")

    def test_mailbox_and_handled(self) -> None:
        """What waits and what was handled is counted, in both styles, selective receive included."""

        async def picks(me: CoroutineActor) -> None:
            await me.receive()
            await me.receive(str)
            await me.receive(lambda message: False)

        for style, args, expected in ((Recorder, ([],), (0, 4)), (picks, (), (2, 2))):
            address = self.system.spawn(style, *args)
            for message in (1, 2, 3, "x"):
                address.send(message)
            self.assertEqual(self.info(address).mailbox, 4)
            self.settle()
            self.assertEqual((self.info(address).mailbox, self.info(address).handled), expected)

    def test_count_of_all(self) -> None:
        """Messages stay counted when the actor that handled them has ended."""
        addresses = [self.spawn(Adder), self.spawn(adder)]
        for address in addresses:
            address.send(1)
            address.send(2)
        self.settle()
        addresses[0].exit("shutdown")
        self.settle()
        self.assertEqual((self.system.count_actors(), self.system.count_handled()), (1, 4))

    def test_asks_nothing(self) -> None:
        """An actor whose own __getattr__ raises can be looked at, and has its class's name."""

        class Proxy(Adder):
            def __getattr__(self, name: str) -> Any:
                raise KeyError(name)

        address = self.spawn(Proxy)
        info = self.system.info(address)
        assert info is not None
        self.assertTrue(info.kind.endswith("Proxy"))
        self.assertIn("Proxy", str(self.system.tree()))

    def test_dead(self) -> None:
        """Of a dead actor there is nothing to tell."""
        address = self.spawn(Adder)
        address.exit("kill")
        self.settle()
        self.assertIsNone(self.system.info(address))

    def test_system(self) -> None:
        """A system's info counts actors, turns to come and dead letters, and has the names."""
        one = self.spawn(Adder)
        self.system.register("one", one)
        one.send(1)
        self.system.send("nobody", 1)
        info = self.system.info()
        self.assertEqual((info.name, info.actors, info.runnable, info.dead_letters), ("test", 1, 1, 1))
        self.assertEqual(info.names, {"one": one})


class TreeTests(ActorTestCase):
    def test_text(self) -> None:
        """The tree prints supervisors with their children, others below who spawned them."""

        class Spawner(Actor):
            def __init__(self) -> None:
                self.spawn(adder)

        inner = SupervisorSpec([ChildSpec(adder, id="worker")])
        self.spawn(
            Supervisor,
            SupervisorSpec([ChildSpec(Adder, 10, id="counter", name="total"), ChildSpec(inner, id="inner")]),
        )
        self.spawn(Spawner)
        text = str(self.system.tree())
        self.assertIn(f"total: Adder {self.system.whereis('total')}", text)
        self.assertEqual(
            re.sub(r" <.*>|TreeTests.*locals>\.", "", text),
            """\
test
├── Supervisor
│   ├── counter: total: Adder
│   └── inner: Supervisor
│       └── worker: adder
└── Spawner
    └── adder""",
        )

    def test_not_running(self) -> None:
        """Children that do not run are there, too."""
        supervisor = self.spawn(
            Supervisor,
            SupervisorSpec([ChildSpec(Adder, id="a"), ChildSpec(Adder, id="b")], back_off=BackOff()),
        )
        Supervisor.terminate_child(supervisor, "a")
        self.settle()
        [top] = self.system.tree().children
        address = top.children[1].address
        assert address is not None
        address.exit("kill")
        self.settle()
        [top] = self.system.tree().children
        self.assertEqual([child.label for child in top.children], ["a (not running)", "b (restarting)"])

    def test_many(self) -> None:
        """Of very many children, the first are printed, and the others counted; as data, all are there."""
        supervisor = self.spawn(DynamicSupervisor)
        for _ in range(1234):
            DynamicSupervisor.start_child(supervisor, Adder)
        self.settle()
        tree = self.system.tree()
        self.assertEqual(len(tree.children[0].children), 1234)
        lines = str(tree).splitlines()
        self.assertEqual((len(lines), lines[-1]), (SHOWN + 3, f"    └── … and {1234 - SHOWN:,} more"))

    def test_orphans(self) -> None:
        """An actor whose parent has died is below the system."""

        class Spawner(Actor):
            def __init__(self) -> None:
                self.spawn(Adder)
                self.exit()

        self.spawn(Spawner)
        self.assertEqual([child.label for child in self.system.tree().children], ["Adder"])

    def test_deep(self) -> None:
        """Actors that spawn one another, deeper than Python can call, can be shown."""

        async def nested(me: CoroutineActor, more: int) -> None:
            if more:
                me.spawn(nested, more - 1)
            await me.receive()

        self.system.spawn(nested, 3_000)
        self.settle()
        lines = str(self.system.tree()).splitlines()
        self.assertEqual(len(lines), 3_002)
        self.assertTrue(lines[-1].startswith("    " * 3_000 + "└── "))
