"""Groups, as pg has them."""

from __future__ import annotations

from typing import Any

from echoactor import Address, CoroutineActor, Groups

from .support import ActorTestCase, Recorder


class GroupsTests(ActorTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.groups = Groups(self.system)
        self.got: list[Any] = []
        self.one, self.two, self.three = (self.spawn(Recorder, self.got) for _ in range(3))

    def members(self, group: str = "room") -> list[Address]:
        return list(self.groups.members(group))

    def test_join_and_leave(self) -> None:
        """Members are there from join to leave, in the order they joined."""
        for address in (self.two, self.one, self.three):
            self.groups.join("room", address)
        self.groups.join("other", self.one)
        self.groups.leave("room", self.one)
        self.assertEqual(self.members(), [self.two, self.three])
        self.assertEqual(self.groups.groups(), ("room", "other"))

    def test_send(self) -> None:
        """A message to a group reaches each member once, but not the one left out."""
        for address in (self.one, self.two, self.two):
            self.groups.join("room", address)
        self.groups.send("room", "hello")
        self.groups.send("room", "and", but=self.one)
        self.groups.send("nobody's", "?")
        self.settle()
        self.assertEqual(self.got, ["hello", "hello", "and"])
        self.assertEqual(self.system.dead_letters, 0)

    def test_twice(self) -> None:
        """One who joined twice is a member until it has left twice."""
        for _ in range(2):
            self.groups.join("room", self.one)
        self.assertEqual(self.members(), [self.one, self.one])
        self.groups.leave("room", self.one)
        self.assertEqual(self.members(), [self.one])
        self.groups.leave("room", self.one)
        self.assertEqual((self.members(), self.groups.groups()), ([], ()))

    def test_death(self) -> None:
        """Whoever dies leaves all groups before anybody hears of it; the dead cannot join."""
        seen: list[Any] = []

        async def watches(me: CoroutineActor) -> None:
            me.monitor(self.one)
            await me.receive()
            seen.append(self.members())

        self.spawn(watches)
        for group in ("room", "other"):
            self.groups.join(group, self.one)
        self.groups.join("room", self.two)
        self.one.exit("kill")
        self.settle()
        self.assertEqual((seen, self.members("other"), self.groups.groups()), ([[self.two]], [], ("room",)))
        self.groups.join("room", self.one)
        self.assertEqual(self.members(), [self.two])

    def test_changed_name(self) -> None:
        """A group whose name has changed, and is not found, keeps nobody from leaving the others."""

        class Name:
            number = 1

            def __hash__(self) -> int:
                return self.number

        name = Name()
        for group in (name, "room"):
            self.groups.join(group, self.one)
        ended = self.one.ended()
        name.number = 2
        self.one.exit("kill")
        self.settle()
        self.assertEqual((self.successResultOf(ended), self.members()), ("killed", []))

    def test_leaves_nothing(self) -> None:
        """Joining and leaving, in any order, leaves nothing behind in the member."""
        self.groups.leave("room", self.one)
        self.groups.join("room", self.one)
        self.groups.leave("room", self.one)
        self.groups.leave("room", self.one)
        cell = self.system.find(self.one)
        assert cell is not None and cell.ties is not None
        self.assertEqual(cell.ties.watchers, {})

    def test_scopes(self) -> None:
        """Each Groups object is a scope of its own."""
        self.groups.join("room", self.one)
        self.assertEqual(Groups(self.system).members("room"), ())
