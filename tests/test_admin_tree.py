"""The supervision tree as rows."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransport

from echoactor import (
    ActorFactory,
    Address,
    BackOff,
    ChildSpec,
    CoroutineActor,
    EchoFactory,
    Supervisor,
    SupervisorSpec,
)
from echoactor.admin.sample import Sample
from echoactor.admin.tree import FAMILY, MOST_ROWS, Row, find, rows_of
from echoactor.protocol import ConnectionSupervisor

from .support import ActorTestCase, Adder


def connect(factory: ActorFactory, port: int) -> Any:
    """Let a client come; returns the protocol of its connection."""
    peer = IPv4Address("TCP", "192.0.2.1", port)
    protocol = factory.buildProtocol(peer)
    protocol.makeConnection(StringTransport(peerAddress=peer))
    return protocol


class TreeTestCase(ActorTestCase):
    def rows(self, *opened: str, shut: tuple[str, ...] = ()) -> list[Row]:
        return rows_of(Sample(self.system, None), frozenset(opened), frozenset(shut))

    def drawn(self, *opened: str, shut: tuple[str, ...] = ()) -> list[str]:
        """The rows, as a person sees them."""
        return ["  " * (row.level - 1) + row.name for row in self.rows(*opened, shut=shut)]

    def row(self, name: str, *opened: str) -> Row:
        [row] = [row for row in self.rows(*opened) if row.name == name]
        return row

    def supervise(self, *children: ChildSpec, **more: Any) -> Address:
        self.system.start_child(ChildSpec(SupervisorSpec(list(children), **more), id="house"))
        self.settle()
        supervisor = self.system.cells()[1].address
        self.assertEqual(self.system.cells()[1].kind, "Supervisor")
        return supervisor


async def spawner(me: CoroutineActor, depth: int = 0, width: int = 1) -> None:
    """Has children, and they have some."""
    if depth:
        for _ in range(width):
            me.spawn(spawner, depth - 1, width)
    await me.receive()


class RowTests(TreeTestCase):
    def test_a_row(self) -> None:
        """A row tells its place, what it is, what it does, and how often it was restarted."""
        self.supervise(ChildSpec(Adder, id="one", name="first"), ChildSpec(Adder, id="two"))
        first = self.system.whereis("first")
        assert first is not None
        first.send(5)
        self.settle()
        first.send(6)
        rows = self.rows()
        self.assertEqual(self.drawn(), ["Supervisor", "  house", "    one", "    two"])
        self.assertEqual(rows[2][1:], (3, 1, 2, "one", "Adder", first.number, "runnable", 1, 1, 0, 0, False))
        self.assertEqual(rows[1][10:], (0, 2, True))

    def test_a_restart(self) -> None:
        """A supervised actor keeps its key when it is restarted; its number changes."""
        supervisor = self.supervise(ChildSpec(Adder, id="one", name="first"))
        before = self.row("one")
        self.system.send("first", ValueError("crash"))
        self.settle()
        after = self.row("one")
        self.assertEqual((after.key, after.restarts), (before.key, 1))
        self.assertNotEqual(after.number, before.number)
        self.assertTrue(before.key.startswith(f"c{supervisor.number}."))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_not_running(self) -> None:
        """A child that does not run has its row, too, and says why."""
        one = ChildSpec(Adder, id="one", name="first")
        supervisor = self.supervise(one, ChildSpec(Adder, id="two"), back_off=BackOff(10, 100))
        self.system.send("first", ValueError("crash"))
        Supervisor.terminate_child(supervisor, "two")
        self.settle()
        self.assertEqual(self.row("one")[5:8], ("", None, "restarting"))
        self.assertEqual(self.row("two")[5:8], ("", None, "not running"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_spawned(self) -> None:
        """Actors that nobody supervises are below who spawned them; orphans are at the top."""
        parent = self.spawn(spawner, 1, 2)
        self.assertEqual(self.drawn(), ["spawner", "  spawner", "  spawner"])
        parent.exit("shutdown")
        self.settle()
        self.assertEqual(self.drawn(), ["spawner", "spawner"])

    def test_deep(self) -> None:
        """However deep actors are nested, and in whatever rings they are spawned, there are so many rows."""
        self.spawn(spawner, 3000)
        self.assertEqual([row.level for row in self.rows()], list(range(1, MOST_ROWS + 1)))

    def test_connections(self) -> None:
        """A connection is below the supervisor of connections, by its peer; else at the top."""
        factory = EchoFactory(self.system)
        self.system.start_child(ChildSpec(ConnectionSupervisor, factory, id="connections"))
        self.settle()
        connect(factory, 4000)
        self.settle()
        self.assertEqual(self.drawn(), ["Supervisor", "  connections", "    192.0.2.1:4000"])
        self.assertEqual(self.row("192.0.2.1:4000").kind, "EchoProtocol")
        alone = connect(EchoFactory(self.system), 4001)
        alone.link(self.spawn(Adder))  # which makes it nobody's child
        self.assertEqual(sorted(self.drawn()[3:]), ["192.0.2.1:4001", "Adder"])
        self.assertEqual({row.level for row in self.rows()[3:]}, {1})


class OpeningTests(TreeTestCase):
    def test_shut(self) -> None:
        """What has children is open until it is shut."""
        parents = [self.spawn(spawner, 1, 3) for _ in range(2)]
        self.assertEqual(len(self.rows()), 8)
        rows = self.rows(shut=(f"a{parents[1].number}",))
        self.assertEqual([row.is_open for row in rows], [True, False, False, False, False])
        self.assertEqual(rows[4].children, 3)

    def test_large_families(self) -> None:
        """Of a large family some are shown, and a row that says how many more there are, and shows more."""
        self.spawn(spawner, 1, 1000)
        rows = self.rows()
        self.assertEqual(len(rows), FAMILY + 2)
        more, siblings, left = rows[-1], FAMILY + 1, 1000 - FAMILY
        self.assertEqual(
            more[1:], (2, siblings, siblings, f"{left} more", "", None, "more", 0, 0, 0, left, False)
        )
        self.assertEqual({row.siblings for row in rows[1:]}, {siblings})
        self.assertEqual(len(self.rows(more.key)), MOST_ROWS)

    def test_a_large_family_at_the_top(self) -> None:
        """That goes for those at the top as well."""
        for _ in range(FAMILY + 5):
            self.spawn(spawner)
        rows = self.rows()
        self.assertEqual((len(rows), rows[-1].name), (FAMILY + 1, "5 more"))
        self.assertEqual(len(self.rows(rows[-1].key)), FAMILY + 5)


class FindTests(TreeTestCase):
    def test_find(self) -> None:
        """Each key of a row leads to its actor; others, and those of actors that are gone, lead nowhere."""
        self.supervise(ChildSpec(Adder, id="one"), ChildSpec(Adder, id="two"))
        spawned = self.spawn(Adder)
        sample = Sample(self.system, None)
        for row in self.rows():
            node = find(sample, row.key)
            assert node is not None
            self.assertEqual((node.name, node.number), (row.name, row.number))
        for key in ("", "a", "ax", "c1", "a99999", "c1.00000000", "m", "m1", "a²", "c.1", "\x00", "a-1"):
            self.assertIsNone(find(sample, key), key)
        spawned.exit("kill")
        self.settle()
        self.assertIsNone(find(sample, f"a{spawned.number}"))

    def test_ended_since(self) -> None:
        """What has ended since the sample was taken is no row any more, and no error."""
        self.supervise(ChildSpec(Adder, id="one", restart="temporary", name="one"))
        spawned = self.spawn(spawner, 1, 2)
        sample = Sample(self.system, None)
        self.system.whereis("one").exit("kill")  # type: ignore[union-attr]  # it lives
        spawned.exit("kill")
        self.settle()
        rows = rows_of(sample, frozenset(), frozenset())
        self.assertEqual([row.name for row in rows], ["Supervisor", "house"])
