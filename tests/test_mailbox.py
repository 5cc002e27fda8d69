"""The mailbox keeps order, whatever is taken and put back."""

from hypothesis import given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from echoactor.mailbox import EMPTY, Mailbox


class MailboxTests(SynchronousTestCase):
    def filled(self, *messages: object) -> Mailbox:
        mailbox = Mailbox()
        for message in messages:
            mailbox.put(message)
        return mailbox

    def test_empty(self) -> None:
        """Nothing can be taken from an empty mailbox, and it owns no queue."""
        mailbox = Mailbox()
        self.assertEqual((mailbox.take_first(), list(mailbox.take_batch(9))), (EMPTY, []))
        self.assertIs(mailbox.take_match(lambda message: True), EMPTY)
        self.assertEqual((mailbox.arrived, mailbox.backlog), (None, None))
        self.assertEqual(repr(EMPTY), "EMPTY")

    def test_none_is_a_message(self) -> None:
        """None may be sent and taken like any other object."""
        self.assertIsNone(self.filled(None).take_first())

    def test_batch_is_limited(self) -> None:
        """A batch has the first messages, and no more than asked for."""
        mailbox = self.filled(1, 2, 3)
        self.assertEqual(list(mailbox.take_batch(2)), [1, 2])
        mailbox.put(4)
        self.assertEqual(list(mailbox.take_batch(2)), [3])
        self.assertEqual(list(mailbox.take_batch(2)), [4])

    def test_put_back(self) -> None:
        """What is put back is ahead of all that waits."""
        mailbox = self.filled(1, 2, 3)
        batch = iter(mailbox.take_batch(2))
        next(batch)
        mailbox.put(4)
        mailbox.put_back(batch)
        self.assertEqual([mailbox.take_first() for _ in range(4)], [2, 3, 4, EMPTY])

    def test_match_leaves_the_others(self) -> None:
        """Taking what matches leaves what does not, in order."""
        mailbox = self.filled("a", 1, "b", 2)
        self.assertEqual(mailbox.take_match(lambda message: isinstance(message, int)), 1)
        self.assertEqual([mailbox.take_first() for _ in range(3)], ["a", "b", 2])

    def test_match_skips_what_is_known(self) -> None:
        """Messages known not to match are not asked about again."""
        mailbox, asked = self.filled(*range(5)), []
        mailbox.take_match(lambda message: asked.append(message), 3)
        self.assertEqual(asked, [3, 4])

    def test_predicate_that_raises(self) -> None:
        """A predicate that raises loses no message."""
        mailbox = self.filled(1, "x", 2)
        with self.assertRaises(TypeError):
            mailbox.take_match(lambda message: message > 1)  # type: ignore[operator]  # the point
        self.assertEqual([mailbox.take_first() for _ in range(3)], [1, "x", 2])

    def test_many_slices_take_linear_time(self) -> None:
        """Reading a long queue in slices never copies the rest of it."""
        mailbox = self.filled(*range(1000))
        backlogs = []
        while mailbox.count_unread():
            mailbox.take_batch(100)
            backlogs.append(mailbox.backlog)
        self.assertEqual(len({id(backlog) for backlog in backlogs[:-1]}), 1)
        self.assertEqual((len(backlogs), backlogs[-1]), (10, None))

    def test_clear(self) -> None:
        """A cleared mailbox is empty."""
        mailbox = self.filled(*range(5))
        mailbox.take_batch(2)
        mailbox.put(9)
        mailbox.clear()
        self.assertEqual(mailbox.count_unread(), 0)


class MailboxMachine(RuleBasedStateMachine):
    """A mailbox does what a list does."""

    def __init__(self) -> None:
        super().__init__()
        self.mailbox = Mailbox()
        self.model: list[object] = []

    @rule(message=st.integers(0, 5))
    def put(self, message: int) -> None:
        self.mailbox.put(message)
        self.model.append(message)

    @rule()
    def take_first(self) -> None:
        expected = self.model.pop(0) if self.model else EMPTY
        assert self.mailbox.take_first() == expected

    @rule(limit=st.integers(1, 4), handled=st.integers(0, 4))
    def take_batch(self, limit: int, handled: int) -> None:
        batch = self.mailbox.take_batch(limit)
        assert list(batch) == self.model[: len(batch)]
        assert len(batch) == limit or len(batch) <= len(self.model)
        self.mailbox.put_back(iter(batch[handled:]))
        del self.model[: min(handled, len(batch))]

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
        """Whatever is put, taken and put back in any order, a mailbox does what a list does."""
        run_state_machine_as_test(MailboxMachine, settings=settings(max_examples=100, deadline=None))

    @given(st.lists(st.integers()), st.integers(1, 10))
    def test_batches_in_order(self, messages: list[int], limit: int) -> None:
        """Taken in batches of any size, messages come in the order they were put."""
        mailbox, taken = Mailbox(), list[object]()
        for message in messages:
            mailbox.put(message)
        while mailbox.count_unread():
            taken.extend(mailbox.take_batch(limit))
        self.assertEqual(taken, messages)
