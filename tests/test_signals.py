"""Links, monitors and exit signals, as in Erlang's reference manual."""

from __future__ import annotations

import weakref
from typing import Any

from echoactor import Actor, Address, CoroutineActor, Crash, Down, Exit
from echoactor.actor import ActorContext
from echoactor.errors import CalleeExited

from .support import ActorTestCase, Adder, Recorder


class Linked(Recorder):
    """Links itself to others as it starts; records what it receives, and exits on demand."""

    def __init__(self, received: list[Any], *others: Address, traps: bool = False) -> None:
        super().__init__(received, traps)
        for other in others:
            self.link(other)

    def receive(self, message: Any) -> None:
        match message:
            case ("exit", reason):
                self.exit(reason)
            case ("do", action):
                action(self)
            case _:
                super().receive(message)


class Trapping(Linked):
    """The same, trapping exits."""

    def __init__(self, received: list[Any], *others: Address) -> None:
        super().__init__(received, *others, traps=True)


class SignalTestCase(ActorTestCase):
    def alive(self, *addresses: Address) -> list[bool]:
        return [self.system.is_alive(address) for address in addresses]

    def do(self, address: Address, action: Any) -> None:
        """Let an actor do something."""
        address.send(("do", action))
        self.settle()

    def end(self, address: Address, reason: object) -> None:
        """Let an actor end by itself."""
        address.send(("exit", reason))
        self.settle()
        self.flushLoggedErrors()


class LinkTests(SignalTestCase):
    def test_abnormal_end(self) -> None:
        """1: A linked actor dies of its peer's abnormal end, with the same reason, and so on along links."""
        one = self.spawn(Linked, [])
        two = self.spawn(Linked, [], one)
        three = self.spawn(Linked, [], two)
        pending = three.call("?")
        self.settle()
        self.end(one, "boom")
        self.assertEqual(self.alive(one, two, three), [False] * 3)
        self.assertEqual(self.failureResultOf(pending, CalleeExited).value.reason, "boom")

    def test_normal_end(self) -> None:
        """2: A normal end is ignored by a linked actor, and a message to one that traps."""
        got: list[Any] = []
        one = self.spawn(Linked, [])
        plain, trapping = self.spawn(Linked, [], one), self.spawn(Trapping, got, one)
        self.end(one, "normal")
        self.assertEqual(self.alive(plain, trapping), [True, True])
        self.assertEqual(got, [Exit(one, "normal")])

    def test_trapping(self) -> None:
        """3: A crash reaches a trapping actor as a message, at the mailbox's end."""
        got: list[Any] = []
        one = self.spawn(Linked, [])
        two = self.spawn(Trapping, got, one)

        def sends_and_crashes(me: Any) -> None:
            two.send("before")
            raise ZeroDivisionError

        one.send(("do", sends_and_crashes))
        self.settle()
        self.flushLoggedErrors(ZeroDivisionError)
        self.assertEqual(got[0], "before")
        self.assertEqual((got[1].sender, got[1].reason.type), (one, "builtins.ZeroDivisionError"))
        self.assertIsInstance(got[1].reason, Crash)

    def test_killed(self) -> None:
        """4: Kill cannot be trapped, and the links of the killed see the reason killed."""
        got: list[Any] = []
        one = self.spawn(Trapping, [])
        self.spawn(Trapping, got, one)
        one.exit("kill")
        self.settle()
        self.assertEqual((self.alive(one), got), ([False], [Exit(one, "killed")]))

    def test_exits_with_kill(self) -> None:
        """5: A peer that itself ends with the reason kill can be trapped, and the reason stays kill."""
        got: list[Any] = []
        one = self.spawn(Linked, [])
        self.spawn(Trapping, got, one)
        self.end(one, "kill")
        self.assertEqual(got, [Exit(one, "kill")])

    def test_dead_address(self) -> None:
        """7: A link to a dead address sends noproc at once."""
        got: list[Any] = []
        one = self.spawn(Linked, [])
        self.end(one, "normal")
        self.spawn(Trapping, got, one)
        self.assertEqual(got, [Exit(one, "noproc")])
        self.assertEqual(self.alive(self.spawn(Linked, [], one)), [False])

    def test_exit_and_link(self) -> None:
        """Order counts: a link or a monitor after an exit signal that ends the other finds nobody."""
        got: list[Any] = []
        one = self.spawn(Trapping, got)
        for action in (lambda me, other: me.link(other), lambda me, other: me.monitor(other)):
            other = self.spawn(Linked, [])
            self.do(one, lambda me, act=action, other=other: (other.exit("boom"), act(me, other)))
        self.assertEqual([message.reason for message in got], ["noproc", "noproc"])

    def test_linked_already(self) -> None:
        """Who is linked already, and links again after an exit signal, hears of the end once, and why."""
        got: list[Any] = []
        other = self.spawn(Linked, [])
        one = self.spawn(Trapping, got, other)
        self.do(one, lambda me: [act(other) for act in (lambda it: it.exit("boom"), me.link)])
        self.assertEqual(got, [Exit(other, "boom")])

    def test_twice_and_unlink_once(self) -> None:
        """8: Two links and one unlink are no link, from either end."""
        one = self.spawn(Linked, [])
        two = self.spawn(Linked, [], one, one)
        self.do(one, lambda me: me.unlink(two))
        self.end(one, "boom")
        self.assertEqual(self.alive(two), [True])

    def test_unlink_nothing(self) -> None:
        """Unlinking what is not linked, or oneself, does nothing."""
        one, two = self.spawn(Linked, []), self.spawn(Linked, [])
        self.do(one, lambda me: (me.unlink(two), me.link(me.address), me.unlink(me.address)))
        self.assertEqual(self.alive(one, two), [True, True])

    def test_spawn_linked(self) -> None:
        """A child spawned with a link takes its parent along."""
        parent = self.spawn(Linked, [])
        children: list[Address] = []
        self.do(parent, lambda me: children.append(me.spawn(Adder, link=True)))
        children[0].send(ZeroDivisionError())
        self.settle()
        self.flushLoggedErrors(ZeroDivisionError)
        self.assertEqual(self.alive(parent), [False])

    def test_long_chain(self) -> None:
        """A chain of 10,000 links ends without recursion."""
        last = self.spawn(Linked, [])
        for _ in range(10_000):
            last = self.system.spawn(Linked, [], last)
        self.clock.advance(0)
        self.assertEqual(self.system.count_actors(), 10_001)
        last.send(("exit", "boom"))
        self.clock.advance(0)
        self.flushLoggedErrors()
        self.assertEqual(self.system.count_actors(), 0)

    def test_last_words(self) -> None:
        """What links or monitors while it is being closed leaves no ties: the other hears noproc."""
        got: list[Any] = []
        other = self.spawn(Trapping, got)

        async def last(me: CoroutineActor) -> None:
            try:
                await me.receive()
            finally:
                me.monitor(other)
                me.link(other)
                me.spawn(Adder, link=True)

        address = self.spawn(last)
        address.exit("shutdown")
        self.settle()
        self.assertEqual((got, self.system.count_actors()), ([Exit(address, "noproc")], 1))
        cell = self.system.find(other)
        self.assertEqual(cell and cell.ties and (cell.ties.links, cell.ties.watchers), None)


class ExitTests(SignalTestCase):
    def test_normal_from_another(self) -> None:
        """6: The signal normal from somebody else does nothing to an actor that does not trap."""
        one = self.spawn(Linked, [])
        one.exit("normal")
        self.settle()
        self.do(self.spawn(Linked, []), lambda me: one.exit("normal"))
        self.assertEqual(self.alive(one), [True])

    def test_normal_to_oneself(self) -> None:
        """6: The signal normal to oneself ends an actor, unless it traps."""
        got: list[Any] = []
        plain, trapping = self.spawn(Linked, []), self.spawn(Trapping, got)
        for one in (plain, trapping):
            self.do(one, lambda me: me.address.exit("normal"))
        self.assertEqual(self.alive(plain, trapping), [False, True])
        self.assertEqual(got, [Exit(trapping, "normal")])

    def test_sender(self) -> None:
        """A trapped signal names its sender: the current actor, or None from outside."""
        got: list[Any] = []
        one = self.spawn(Trapping, got)
        other = self.spawn(Linked, [])
        self.do(other, lambda me: one.exit("a"))
        one.exit("b")
        self.settle()
        self.assertEqual(got, [Exit(other, "a"), Exit(None, "b")])

    def test_first_reason_counts(self) -> None:
        """9: Of two exit signals, the first one's reason counts."""
        one = self.spawn(Linked, [])
        pending = one.call("?")
        self.settle()
        one.exit("first")
        one.exit("second")
        one.exit("kill")
        self.settle()
        self.assertEqual(self.failureResultOf(pending).value.reason, "first")

    def test_ahead_of_unread_messages(self) -> None:
        """10: An exit acts before what was not read: those around it are not seen; Down has its reason."""
        got: list[Any] = []
        downs: list[Any] = []
        one, watcher = self.spawn(Linked, got), self.spawn(Linked, downs)
        self.do(watcher, lambda me: me.monitor(one))
        one.send(1)
        one.exit("boom")
        one.send(2)
        self.settle()
        self.assertEqual((got, self.alive(one)), ([], [False]))
        self.assertEqual([down.reason for down in downs], ["boom"])

    def test_after_the_current_step(self) -> None:
        """10b: An exit of an actor with 100,000 unread messages acts after its current step."""
        got: list[Any] = []
        one = self.system.spawn(Linked, got)
        one.send(1)
        one.send(("do", lambda me: me.address.exit("shutdown")))
        for number in range(100_000):
            one.send(number)
        self.settle()
        self.assertEqual((got, self.alive(one)), ([1], [False]))

    def test_in_the_constructor(self) -> None:
        """An exit signal that comes while the constructor runs acts before the first message."""
        got: list[Any] = []

        class Doomed(Recorder):
            def __init__(self) -> None:
                super().__init__(got)
                self.address.exit("shutdown")

        self.system.spawn(Doomed).send(1)
        self.settle()
        self.assertEqual((got, self.system.count_actors()), ([], 0))

    def test_before_the_first_turn(self) -> None:
        """An actor that is ended before its first turn never runs."""
        ran: list[int] = []

        async def late(me: CoroutineActor) -> None:
            ran.append(1)

        for style in (late, Recorder):
            self.system.spawn(style).exit("shutdown")
        self.settle()
        self.assertEqual((ran, self.system.count_actors()), ([], 0))

    def test_trapping_too_late(self) -> None:
        """Trapping exits after a signal has arrived does not undo it."""
        one = self.spawn(Linked, [])

        def act(me: Any) -> None:
            me.address.exit("boom")
            me.trap_exits = True

        self.do(one, act)
        self.assertEqual(self.alive(one), [False])

    def test_hostile_reason(self) -> None:
        """A reason that can be neither compared nor printed ends actors, links and calls like any other."""

        class Hostile:
            def __eq__(self, other: object) -> bool:
                raise ArithmeticError

            __hash__ = None  # type: ignore[assignment]  # as Python does it

            def __repr__(self) -> str:
                raise ArithmeticError

            @property  # type: ignore[misc]  # it is an attribute of object's
            def __class__(self) -> type:
                raise ArithmeticError

        hostile, got = Hostile(), list[Any]()
        one = self.spawn(Linked, [])
        linked, trapping = self.spawn(Linked, [], one), self.spawn(Trapping, got, one)
        pending = one.call("?")
        self.settle()
        self.end(one, hostile)
        self.assertEqual(self.alive(one, linked, trapping), [False, False, True])
        self.assertIs(got[0].reason, hostile)
        self.assertIs(self.failureResultOf(pending, CalleeExited).value.reason, hostile)

    def test_reason_that_is_gone(self) -> None:
        """A reason that cannot even be asked for its class hinders no sender of the next signal."""
        one = self.spawn(Linked, [])
        one.exit(weakref.proxy(type("Gone", (), {})()))
        one.exit("second")
        self.settle()
        self.assertEqual((self.alive(one), self.flushLoggedErrors()), ([False], []))

    def test_dead_address(self) -> None:
        """A signal to a dead address does nothing."""
        one = self.spawn(Linked, [])
        self.end(one, "normal")
        one.exit("kill")
        self.settle()
        self.assertEqual(self.alive(one), [False])

    def test_abnormal_exit_is_logged(self) -> None:
        """An actor that exits by itself with an unusual reason is reported; one that a signal ends, not."""
        crashed: list[Any] = []
        from echoactor.events import ActorCrashed

        self.system.events.subscribe(ActorCrashed, crashed.append)
        one, two = self.spawn(Linked, []), self.spawn(Linked, [])
        one.send(("exit", "boom"))
        two.exit("boom")
        self.settle()
        self.assertEqual(
            [(event.address, event.reason, event.failure) for event in crashed], [(one, "boom", None)]
        )


class MonitorTests(SignalTestCase):
    def test_each_monitor_counts(self) -> None:
        """13: Three monitors bring three Downs, each with its own reference."""
        got: list[Any] = []
        monitors: list[Any] = []
        one, watcher = self.spawn(Linked, []), self.spawn(Linked, got)
        self.do(watcher, lambda me: monitors.extend(me.monitor(one) for _ in range(3)))
        self.end(one, "normal")
        self.assertEqual(got, [Down(monitor, one, "normal") for monitor in monitors])
        self.assertEqual(len(set(monitors)), 3)

    def test_dead_target(self) -> None:
        """13: Monitoring a dead address brings Down with noproc at once."""
        got: list[Any] = []
        one, watcher = self.spawn(Linked, []), self.spawn(Linked, got)
        self.end(one, "normal")
        self.do(watcher, lambda me: me.monitor(one))
        self.assertEqual([(down.address, down.reason) for down in got], [(one, "noproc")])

    def test_demonitor(self) -> None:
        """14, 15: After demonitor, once or twice, nothing comes; a Down that waits already stays."""
        got: list[Any] = []
        one, two, watcher = self.spawn(Linked, []), self.spawn(Linked, []), self.spawn(Linked, got)
        monitors: list[Any] = []
        self.do(watcher, lambda me: monitors.extend([me.monitor(one), me.monitor(two)]))
        self.do(watcher, lambda me: (me.demonitor(monitors[0]), me.demonitor(monitors[0])))
        self.end(one, "normal")
        self.end(two, "normal")
        self.do(watcher, lambda me: me.demonitor(monitors[1]))
        self.assertEqual([down.address for down in got], [two])

    def test_demonitor_with_flush(self) -> None:
        """14: With flush, a Down that waits already goes, and only that one; in either style."""
        one, two = self.spawn(Linked, []), self.spawn(Linked, [])
        got: list[Any] = []

        async def watches(me: CoroutineActor) -> None:
            monitors = [me.monitor(address) for address in (one, one, two)]
            await me.receive(str)
            me.demonitor(monitors[0], flush=True)
            me.demonitor(monitors[0], flush=True)
            got.extend(monitors)
            while True:
                got.append(await me.receive())

        watcher = self.spawn(watches)
        for address in (one, two):
            self.end(address, "normal")
        watcher.send("go on")
        self.settle()
        self.assertEqual(got[3:], [Down(got[1], one, "normal"), Down(got[2], two, "normal")])

    def test_flush_in_the_middle_of_a_batch(self) -> None:
        """14: A class-style actor flushes what waits behind the message that it handles, too."""
        got: list[Any] = []
        dead, watcher = self.spawn(Linked, []), self.spawn(Linked, got)
        self.end(dead, "normal")
        monitors: list[Any] = []
        watcher.send(("do", lambda me: monitors.extend(me.monitor(dead) for _ in range(2))))
        watcher.send(("do", lambda me: me.demonitor(monitors[0], flush=True)))
        watcher.send("after")
        self.settle()
        self.assertEqual(got, ["after", Down(monitors[1], dead, "noproc")])

    def test_flush_hides_nothing(self) -> None:
        """14: What came before and after a Down that is flushed is read without waiting for more."""
        dead = self.spawn(Linked, [])
        self.end(dead, "normal")

        def flush(me: Any) -> None:
            me.address.send("before")
            monitor = me.monitor(dead)
            me.address.send("after")
            me.demonitor(monitor, flush=True)

        async def flushes(me: CoroutineActor, got: list[Any]) -> None:
            while True:
                message = await me.receive()
                if message == "flush":
                    flush(me)
                else:
                    got.append(message)

        got: list[Any] = []
        self.do(self.spawn(Linked, got), flush)
        self.spawn(flushes, got).send("flush")
        self.settle()
        self.assertEqual(got, ["before", "after"] * 2)

    def test_each_other(self) -> None:
        """16: Two that watch each other may die together."""
        one, two = self.spawn(Linked, []), self.spawn(Linked, [])
        self.do(one, lambda me: me.monitor(two))
        self.do(two, lambda me: me.monitor(one))
        one.exit("kill")
        two.exit("kill")
        self.settle()
        self.assertEqual((self.alive(one, two), self.system.dead_letters), ([False, False], 0))

    def test_watcher_dies(self) -> None:
        """The monitors of an actor end with it."""
        one, watcher = self.spawn(Linked, []), self.spawn(Linked, [])
        self.do(watcher, lambda me: me.monitor(one))
        self.end(watcher, "normal")
        cell = self.system.find(one)
        assert cell is not None and cell.ties is not None
        self.assertEqual(cell.ties.watchers, {})

    def test_messages_before_down(self) -> None:
        """What an actor sent before its end arrives before its Down."""
        got: list[Any] = []
        watcher, one = self.spawn(Linked, got), self.spawn(Linked, [])
        self.do(watcher, lambda me: me.monitor(one))

        def sends_and_exits(me: Any) -> None:
            watcher.send("last words")
            me.exit("normal")

        one.send(("do", sends_and_exits))
        self.settle()
        self.assertEqual([type(message).__name__ for message in got], ["str", "Down"])

    def test_dead_before_anybody_hears(self) -> None:
        """When Down arrives, the address is dead already."""
        alive: list[bool] = []

        class Looks(Actor):
            def __init__(self, target: Address) -> None:
                self.monitor(target)

            def receive(self, message: Down) -> None:
                alive.append(self.system.is_alive(message.address))

        one = self.spawn(Linked, [])
        self.spawn(Looks, one)
        self.end(one, "boom")
        self.assertEqual(alive, [False])

    def test_common_to_both_styles(self) -> None:
        """Links, monitors and trapping are there in coroutine style too."""
        got: list[Any] = []
        one = self.spawn(Linked, [])

        async def watches(me: CoroutineActor) -> None:
            me.trap_exits = True
            me.link(one)
            me.monitor(one)
            got.append(me.trap_exits)
            got.append(type(await me.receive()))
            got.append(type(await me.receive()))

        self.spawn(watches)
        self.end(one, "boom")
        self.assertEqual(got, [True, Exit, Down])
        self.assertTrue(issubclass(CoroutineActor, ActorContext))
