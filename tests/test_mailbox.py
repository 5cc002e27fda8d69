"""The mailbox keeps order, whatever is taken."""

import weakref

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from echoactor.mailbox import EMPTY, Mailbox, MailboxBound
from echoactor.messages import Exit


class MailboxTests(SynchronousTestCase):
    def filled(self, *messages: object, bound: MailboxBound | None = None) -> Mailbox:
        mailbox = Mailbox(bound)
        for message in messages:
            mailbox.insert(message)
        return mailbox

    def test_empty(self) -> None:
        """Nothing can be taken from an empty mailbox, and it owns no queue."""
        mailbox = Mailbox()
        self.assertEqual((mailbox.take_first(), mailbox.gather()), (EMPTY, None))
        self.assertIs(mailbox.take_match(lambda message: True), EMPTY)
        self.assertEqual((mailbox.arrived, mailbox.backlog), (None, None))
        self.assertEqual(repr(EMPTY), "EMPTY")

    def test_none_is_a_message(self) -> None:
        """None may be sent and taken like any other object."""
        self.assertIsNone(self.filled(None).take_first())

    def test_gather(self) -> None:
        """Gathered messages stay in the mailbox, ahead of those that come later."""
        mailbox = self.filled(1, 2)
        gathered = mailbox.gather()
        mailbox.insert(3)
        self.assertEqual((list(gathered or ()), mailbox.count_unread()), ([1, 2], 3))
        self.assertEqual([mailbox.take_first() for _ in range(4)], [1, 2, 3, EMPTY])

    def test_match_leaves_the_others(self) -> None:
        """Taking what matches leaves what does not, in order."""
        mailbox = self.filled("a", 1, "b", 2)
        self.assertEqual(mailbox.take_match(lambda message: isinstance(message, int)), 1)
        self.assertEqual([mailbox.take_first() for _ in range(3)], ["a", "b", 2])

    def test_match_moves_nothing(self) -> None:
        """What has arrived stays news, whatever is taken around it: an actor that waits for news reads it."""
        mailbox = self.filled(1, 2)
        mailbox.gather()
        for message in (3, 4):
            mailbox.insert(message)
        for wanted, left in ((1, [3, 4]), (9, [3, 4]), (4, [3])):
            mailbox.take_match(wanted.__eq__)
            self.assertEqual(mailbox.arrived, left)

    def test_match_skips_what_is_known(self) -> None:
        """Messages known not to match are not asked about again."""
        mailbox, asked = self.filled(*range(5)), list[object]()
        mailbox.take_match(asked.append)
        mailbox.gather()
        mailbox.insert(5)
        mailbox.take_match(asked.append, news_only=True)
        self.assertEqual(asked, [0, 1, 2, 3, 4, 5])

    def test_match_among_news(self) -> None:
        """Taking from the news leaves what came with it, in order, behind what was there."""
        mailbox = self.filled("a", 1)
        mailbox.gather()
        for message in ("b", 2, "c"):
            mailbox.insert(message)
        self.assertEqual(mailbox.take_match(lambda message: message == 2, news_only=True), 2)
        self.assertEqual([mailbox.take_first() for _ in range(5)], ["a", 1, "b", "c", EMPTY])

    def test_predicate_that_raises(self) -> None:
        """A predicate that raises loses no message."""
        mailbox = self.filled(1, "x", 2)
        with self.assertRaises(TypeError):
            mailbox.take_match(lambda message: message > 1)  # type: ignore[operator]  # the point
        self.assertEqual([mailbox.take_first() for _ in range(3)], [1, "x", 2])

    def test_long_queue_is_not_copied(self) -> None:
        """Reading a long queue message by message never copies the rest of it."""
        mailbox = self.filled(*range(1000))
        backlogs = set()
        for number in range(999):
            self.assertEqual(mailbox.take_first(), number)
            backlogs.add(id(mailbox.backlog))
        self.assertEqual(len(backlogs), 1)

    def test_clear(self) -> None:
        """A cleared mailbox is empty."""
        mailbox = self.filled(*range(5))
        mailbox.take_first()
        mailbox.insert(9)
        mailbox.clear()
        self.assertEqual(mailbox.count_unread(), 0)


class BoundTests(MailboxTests):
    """A mailbox with room to spare does all that, and one that is full drops something."""

    def filled(self, *messages: object, bound: MailboxBound | None = None) -> Mailbox:
        return super().filled(*messages, bound=bound or MailboxBound(10_000))

    def drain(self, mailbox: Mailbox) -> list[object]:
        return list(iter(mailbox.take_first, EMPTY))

    def test_refuse_newest(self) -> None:
        """A full mailbox refuses what comes, until something is taken."""
        mailbox = self.filled(1, 2, bound=MailboxBound(2))
        self.assertEqual(mailbox.insert(3), 3)
        mailbox.take_first()
        self.assertIs(mailbox.insert(4), EMPTY)
        self.assertEqual(self.drain(mailbox), [2, 4])

    def test_drop_oldest(self) -> None:
        """A full mailbox that drops the oldest takes what comes."""
        mailbox = self.filled(1, 2, bound=MailboxBound(2, "oldest"))
        self.assertEqual([mailbox.insert(number) for number in (3, 4)], [1, 2])
        self.assertEqual(self.drain(mailbox), [3, 4])

    def test_signals_stay(self) -> None:
        """Exits and Downs are neither refused nor dropped."""
        signals = [Exit(None, number) for number in range(3)]
        for drop in ("newest", "oldest"):
            mailbox = self.filled(1, 2, bound=MailboxBound(2, drop))
            for signal in signals:
                self.assertIs(mailbox.insert(signal, signal=True), EMPTY)
            dropped = mailbox.insert(3)
            left = [*signals, 3] if drop == "oldest" else [1, *signals][1:]
            self.assertEqual(dropped, 1 if drop == "oldest" else 3)
            self.assertEqual([one for one in self.drain(mailbox) if one not in (1, 2)], left)

    def test_signals_alone(self) -> None:
        """With nothing but signals in a full mailbox, nothing is there to be dropped for another message."""
        mailbox = self.filled(bound=MailboxBound(1, "oldest"))
        mailbox.insert(Exit(None, "x"), signal=True)
        self.assertIs(mailbox.insert(1), EMPTY)

    def test_hostile_messages(self) -> None:
        """A message that says nothing about itself is dropped like any other."""
        mailbox = self.filled(weakref.proxy(type("Gone", (), {})()), bound=MailboxBound(1, "oldest"))
        mailbox.insert("next")
        self.assertEqual(self.drain(mailbox), ["next"])

    def test_wrong_bound(self) -> None:
        """A bound says what is wrong with it."""
        for limit in (0, -1, 1.5, True, "9"):
            with self.assertRaisesRegex(ValueError, f"limit: {limit!r} is not"):
                MailboxBound(limit)  # type: ignore[arg-type]  # the point
        with self.assertRaisesRegex(ValueError, "drop: 'both' is neither 'newest' nor 'oldest'"):
            MailboxBound(1, "both")


class MailboxMachine(RuleBasedStateMachine):
    """A mailbox does what a list does."""

    def __init__(self) -> None:
        super().__init__()
        self.mailbox = Mailbox()
        self.model: list[object] = []

    @rule(message=st.integers(0, 5))
    def put(self, message: int) -> None:
        self.mailbox.insert(message)
        self.model.append(message)

    @rule()
    def take_first(self) -> None:
        expected = self.model.pop(0) if self.model else EMPTY
        assert self.mailbox.take_first() == expected

    @rule()
    def gather(self) -> None:
        gathered = self.mailbox.gather()
        assert list(gathered or ()) == self.model

    @rule(wanted=st.integers(0, 5))
    def take_match(self, wanted: int) -> None:
        expected = wanted if wanted in self.model else EMPTY
        assert self.mailbox.take_match(lambda message: message == wanted) == expected
        if expected is not EMPTY:
            self.model.remove(wanted)

    @invariant()
    def same_length(self) -> None:
        assert self.mailbox.count_unread() == len(self.model)


class OrderTests(SynchronousTestCase):
    def test_any_use(self) -> None:
        """Whatever is inserted, gathered and taken in any order, a mailbox does what a list does."""
        run_state_machine_as_test(MailboxMachine, settings=settings(max_examples=100))
