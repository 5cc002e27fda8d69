"""Names: one for an actor, free when it dies."""

from __future__ import annotations

from typing import Any

from echoactor import CoroutineActor, Down, Exit
from echoactor.errors import CalleeExited, NameTaken
from echoactor.events import DeadLetter

from .support import ActorTestCase, Adder, Recorder


class NamesTests(ActorTestCase):
    def test_register(self) -> None:
        """A registered actor is found by name, and gets what is sent to the name."""
        one, two = self.spawn(Adder), self.spawn(Adder)
        self.system.register("one", one)
        self.system.register("two", two)
        self.assertEqual((self.system.whereis("one"), self.system.whereis("two")), (one, two))
        self.assertEqual(list(self.system.names().items()), [("one", one), ("two", two)])
        self.system.send("one", 5)
        reply = self.system.call("one", "total")
        self.settle()
        self.assertEqual(self.successResultOf(reply), 5)

    def test_address_for_a_name(self) -> None:
        """Where a name is taken, an address is, too."""
        one = self.spawn(Adder)
        self.system.send(one, 5)
        reply = self.system.call(one, "total")
        self.settle()
        self.assertEqual(self.successResultOf(reply), 5)

    def test_taken(self) -> None:
        """44: A name that is taken is refused, and the error says by whom; so is a second name."""
        one, two = self.spawn(Adder), self.spawn(Adder)
        self.system.register("one", one)
        for name, address in (("one", two), ("one", one), ("another", one)):
            with self.assertRaises(NameTaken) as caught:
                self.system.register(name, address)
            self.assertEqual((caught.exception.name, caught.exception.address), ("one", one))
            self.assertIn(str(one), str(caught.exception))
        self.assertEqual(self.system.names(), {"one": one})

    def test_owner_killed(self) -> None:
        """45: When the owner is killed, the name is free for the next."""
        one, two = self.spawn(Adder), self.spawn(Adder)
        self.system.register("one", one)
        one.exit("kill")
        self.settle()
        self.assertIsNone(self.system.whereis("one"))
        self.system.register("one", two)
        self.assertEqual(self.system.whereis("one"), two)

    def test_free_before_anybody_hears(self) -> None:
        """12: When Exit or Down arrives, the name of the dead one is already free."""
        seen: list[Any] = []

        async def watches(me: CoroutineActor) -> None:
            me.trap_exits = True
            me.link(owner)
            me.monitor(owner)
            for _ in range(2):
                seen.append((type(await me.receive(Exit, Down)), me.system.whereis("owner")))

        owner = self.system.spawn(Adder, name="owner")
        self.spawn(watches)
        owner.exit("boom")
        self.settle()
        self.assertEqual(seen, [(Exit, None), (Down, None)])

    def test_unknown(self) -> None:
        """20, 46: Sending to an unknown name is silent, a dead letter; calling it fails with noproc."""
        letters: list[DeadLetter] = []
        self.system.events.subscribe(DeadLetter, letters.append)
        self.system.send("nobody", "hello")
        self.assertEqual(letters, [DeadLetter("nobody", "hello")])
        pending = self.system.call("nobody", "hello")
        self.assertNoResult(pending)
        self.settle()
        self.assertEqual(self.failureResultOf(pending, CalleeExited).value.reason, "noproc")
        self.assertIsNone(self.system.whereis("nobody"))
        self.system.unregister("nobody")

    def test_unregister(self) -> None:
        """An unregistered actor lives on, and may have another name."""
        one = self.system.spawn(Adder, name="one")
        self.system.unregister("one")
        self.assertIsNone(self.system.whereis("one"))
        self.system.register("another", one)
        one.exit("kill")
        self.settle()
        self.assertEqual(self.system.names(), {})

    def test_wrong_names(self) -> None:
        """What is no name, and a dead owner, are refused with words."""
        one = self.spawn(Recorder, [])
        with self.assertRaisesRegex(TypeError, "name: 5 is not a string"):
            self.system.register(5, one)  # type: ignore[arg-type]  # the point
        with self.assertRaisesRegex(ValueError, "name: '' is empty"):
            self.system.spawn(Adder, name="")
        one.exit("kill")
        self.settle()
        with self.assertRaisesRegex(ValueError, f"address: {one} is dead"):
            self.system.register("one", one)
        self.assertEqual(self.system.count_actors(), 0)
