"""What one viewer sees."""

from __future__ import annotations

from typing import Any

from twisted.web.http import parse_qs

from echoactor import Actor, Address, ChildSpec, EchoFactory, SupervisorSpec
from echoactor.admin.recorder import TRACEBACK, Recorder
from echoactor.admin.sample import Sample
from echoactor.admin.view import KEYS, MOST_ROWS, TIES, View, connections_in, details_of
from echoactor.connection import Connection

from .support import ActorTestCase, Adder
from .test_admin_tree import connect


class QueryTests(ActorTestCase):
    def view(self, query: str) -> View:
        return View.of(parse_qs(query.encode(), True))

    def test_nothing(self) -> None:
        """Without a query the view is the default one."""
        self.assertEqual(self.view(""), View())

    def test_all(self) -> None:
        """Each field is read."""
        query = (
            "open=a1,c2.ff&shut=a3&actor=a7&search=%20Echo&order=newest&first=40&rows=25&held=9,x,8&since=5"
        )
        opened, shut = frozenset(("a1", "c2.ff")), frozenset(("a3",))
        expected = View(opened, shut, "a7", "echo", "newest", 40, 25, (9, 8), 5)
        self.assertEqual(self.view(query), expected)

    def test_nonsense(self) -> None:
        """What means nothing is left out."""
        for query in ("order=worst", "first=-1", "first=x", "rows=1e9", "rows=", "first=%C2%B2", "what=ever"):
            self.assertEqual(self.view(query), View(), query)
        self.assertEqual(self.view("search=%FF%00").search, "\ufffd\x00")

    def test_bounds(self) -> None:
        """However much a viewer asks for, it gets so much."""
        self.assertEqual(self.view("rows=99999999").rows, MOST_ROWS)
        self.assertLess(self.view("first=999999999999999").first, 100_000_000)
        keys = ",".join(f"a{number}" for number in range(10 * KEYS))
        self.assertEqual(len(self.view(f"open={keys}").opened), KEYS)
        self.assertLess(len(self.view("search=" + "x" * 100_000).search), 101)
        self.assertEqual(len(self.view("held=" + "1," * 1000).held), MOST_ROWS)


class ConnectionsTests(ActorTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.factory = EchoFactory(self.system)
        self.protocols = []
        for port in range(4000, 4010):
            self.clock.advance(1)
            self.protocols.append(connect(self.factory, port))
        self.counts: dict[Address, tuple[int, int]] = {}
        for place, name in enumerate(("bytes_in", "bytes_out")):

            def counted(connection: Connection, place: int = place) -> int:
                return self.counts.get(connection.address, (0, 0))[place]

            self.patch(Connection, name, property(counted, lambda connection, value: None))

    def count(self, place: int, came: int, went: int) -> None:
        """Let so many bytes have come and gone."""
        self.counts[self.protocols[place].address] = came, went

    def ports(self, sample: Sample, **view: Any) -> list[int]:
        rows = connections_in(sample, View(**view))["rows"]
        return [int(row[2].partition(":")[2]) for row in rows]

    def test_a_row(self) -> None:
        """A row tells peer, class, birth, bytes, and how many bytes a second since the sample before."""
        before = Sample(self.system, None)
        self.count(3, 100, 300)
        self.protocols[3].dataReceived(b"hello")
        self.clock.advance(2)
        sample = Sample(self.system, before)
        seen = connections_in(sample, View(rows=1))
        number = self.protocols[3].address.number
        row = [number, "EchoProtocol", "192.0.2.1:4003", 4.0, 100, 300, 200, 2]
        self.assertEqual(seen, {"all": 10, "found": 10, "first": 0, "rows": [row]})

    def test_orders(self) -> None:
        """The busiest lately, largest, newest or oldest come first, and others in the order they came."""
        before = Sample(self.system, None)
        self.count(2, 10, 0)
        self.clock.advance(1)
        middle = Sample(self.system, before)
        self.count(7, 0, 5)
        self.clock.advance(1)
        sample = Sample(self.system, middle)
        rest = [4000, 4001, 4003, 4004, 4005, 4006, 4008, 4009]
        self.assertEqual(self.ports(sample, order="rate"), [4002, 4007, *rest])
        self.assertEqual(self.ports(sample, order="bytes"), [4002, 4007, *rest])
        self.assertEqual(self.ports(sample, order="newest"), list(range(4009, 3999, -1)))
        self.assertEqual(self.ports(sample, order="oldest"), list(range(4000, 4010)))
        for _ in range(5):
            self.count(7, 0, 5 + self.counts[self.protocols[7].address][1])
            self.clock.advance(1)
            sample = Sample(self.system, sample)
        self.assertEqual(self.ports(sample, order="rate")[:2], [4007, 4002])
        self.assertEqual(sample.connections[self.protocols[7].address.number].rate, 5)

    def test_a_part(self) -> None:
        """Only what fits is there."""
        sample = Sample(self.system, None)
        self.assertEqual(self.ports(sample, order="oldest", first=4, rows=3), [4004, 4005, 4006])
        self.assertEqual(self.ports(sample, order="oldest", first=8, rows=3), [4008, 4009])
        self.assertEqual(self.ports(sample, first=100), [])

    def test_held(self) -> None:
        """Those that are asked for by number are there in that order, whoever comes first by now."""
        numbers = [self.protocols[place].address.number for place in (7, 2, 5)]
        sample = Sample(self.system, None)
        self.assertEqual(self.ports(sample, order="newest", held=(*numbers, 999)), [4007, 4002, 4005])
        self.assertEqual(self.ports(sample, search=":4001", held=tuple(numbers[:1])), [4007])

    def test_search(self) -> None:
        """A connection is found by a part of its peer, class or address."""
        sample = Sample(self.system, None)
        self.assertEqual(self.ports(sample, search=":4007"), [4007])
        self.assertEqual(len(self.ports(sample, search="echoprotocol")), 10)
        number = self.protocols[3].address.number
        self.assertEqual(self.ports(sample, search=f"echoprotocol {number}")[0], 4003)
        address = str(self.protocols[5].address).lower()
        self.assertEqual(self.ports(sample, search=address), [4005])
        self.assertEqual(connections_in(sample, View(search="x"))["found"], 0)

    def test_gone(self) -> None:
        """A connection that is gone is not in the next sample, and is no error in this one."""
        before = Sample(self.system, None)
        self.protocols[0].connectionLost()
        self.settle()
        self.assertEqual(len(self.ports(before)), 10)
        self.assertEqual(len(self.ports(Sample(self.system, before))), 9)


class DetailsTests(ActorTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.kept = Recorder(self.system)

    def details(self, key: str) -> dict[str, Any]:
        return details_of(self.system, Sample(self.system, None), self.kept, key)

    def test_an_actor(self) -> None:
        """Details name what an actor is linked to, watches, and was spawned by."""
        children = []

        class Parent(Actor):
            def receive(self, message: Any) -> None:
                children.append(self.spawn(Adder, link=True, monitor=True, name="child"))

        parent = self.spawn(Parent)
        parent.send("go")
        self.settle()
        [child] = children
        details = self.details(f"a{parent.number}")
        named = [[child.number, f"child {child}"]]
        self.assertEqual((details["links"], details["monitors"]), (named, named))
        self.assertEqual((details["link_count"], details["monitor_count"]), (1, 1))
        self.assertEqual((details["handled"], details["mailbox"], details["state"]), (1, 0, "waiting"))
        details = self.details(f"a{child.number}")
        self.assertEqual(details["parent"], [[parent.number, f"Parent {parent}"]])
        self.assertEqual((details["registered"], details["kind"]), ("child", "Adder"))

    def test_many_links(self) -> None:
        """Of many links some are shown, and their number."""

        class Parent(Actor):
            def receive(self, message: Any) -> None:
                for _ in range(1000):
                    self.spawn(Adder, link=True)

        parent = self.spawn(Parent)
        parent.send("go")
        self.settle()
        details = self.details(f"a{parent.number}")
        self.assertEqual((len(details["links"]), details["link_count"]), (TIES, 1000))

    def test_a_crash(self) -> None:
        """A restarted actor's details tell how often it was, and of its last crash."""
        child = ChildSpec(Adder, id="one", name="one")
        self.system.start_child(ChildSpec(SupervisorSpec([child]), id="house"))
        self.settle()
        address = self.system.whereis("one")
        assert address is not None
        address.send(ValueError("x" * 2 * TRACEBACK + "\u202e\x1b[31m"))
        self.settle()
        self.flushLoggedErrors(ValueError)
        new = self.system.whereis("one")
        assert new is not None
        details = self.details(f"a{new.number}")
        text, traceback = details["crash"]
        self.assertTrue(text.startswith("ValueError: xxx"))
        self.assertEqual(len(text), 300)
        self.assertTrue(traceback.rstrip().endswith("x" * 99 + r"\u202e\x1b[31m"), traceback[-120:])
        self.assertLess(len(traceback), TRACEBACK + 20)
        gone = self.details(f"a{address.number}")
        self.assertEqual((gone["state"], gone["name"], gone["crash"]), ("gone", "one", details["crash"]))

    def test_gone(self) -> None:
        """Of an actor that never was there is nothing to tell."""
        self.assertEqual(self.details("a77"), {"key": "a77", "number": 77, "state": "gone"})
        self.assertEqual(self.details("<b>"), {"key": "<b>", "number": None, "state": "gone"})

    def test_a_connection(self) -> None:
        """A connection's details have its peer and bytes."""
        protocol = connect(EchoFactory(self.system), 4000)
        details = self.details(f"a{protocol.address.number}")
        self.assertEqual((details["peer"], details["bytes_in"]), ("192.0.2.1:4000", 0))
