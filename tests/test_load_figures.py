"""What the load client counts."""

from __future__ import annotations

import time

from hypothesis import given, strategies
from twisted.trial.unittest import SynchronousTestCase

from echoactor.load.figures import HIGHEST, MOST_DETAILS, Figures


class FiguresTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.figures = Figures()

    def count(self, *latencies: int) -> None:
        for latency in latencies:
            self.figures.latencies[latency] += 1

    def test_a_second(self) -> None:
        """A second has the messages answered in it, their latencies, and its errors."""
        self.figures.begin(100.0)
        self.count(*range(1, 101))
        self.figures.fail("wrong byte", "there")
        first = self.figures.end_second(101.0)
        self.assertEqual((first.end, first.length, first.messages, first.errors), (1.0, 1.0, 100, 1))
        self.assertEqual((first.p50, first.p99, first.max), (50, 99, 100))
        self.count(1000)
        second = self.figures.end_second(101.5)
        self.assertEqual((second.end, second.length, second.messages, second.errors), (1.5, 0.5, 1, 0))
        self.assertEqual((second.p50, second.max), (1000, 1000))
        self.assertEqual(self.figures.seconds, [first, second])

    def test_all_seconds(self) -> None:
        """All seconds together are in the histogram, each message once."""
        self.figures.begin(0.0)
        self.count(*range(1, 51))
        self.figures.end_second(1.0)
        self.count(*range(51, 101))
        self.figures.end_second(2.0)
        self.assertEqual(self.figures.messages, 100)
        self.assertEqual(self.figures.histogram.get_value_at_percentile(50), 50)
        self.assertEqual(self.figures.histogram.get_value_at_percentile(99), 99)

    def test_a_second_without_messages(self) -> None:
        """A second in which nothing was answered is all zeros."""
        self.figures.begin(0.0)
        second = self.figures.end_second(1.0)
        self.assertEqual((second.messages, second.p50, second.p99, second.max), (0, 0, 0, 0))

    def test_very_long(self) -> None:
        """A latency longer than the histogram goes is counted as its longest, and not left out."""
        self.figures.begin(0.0)
        self.count(HIGHEST * 10)
        self.figures.end_second(1.0)
        self.assertEqual(self.figures.messages, 1)
        self.assertGreaterEqual(self.figures.histogram.get_max_value(), HIGHEST)

    @given(strategies.lists(strategies.integers(0, HIGHEST), min_size=1, max_size=200))
    def test_exact_to_a_thousandth(self, latencies: list[int]) -> None:
        """Each percentile is within a thousandth of what sorting gives."""
        figures = Figures()
        figures.begin(0.0)
        for latency in latencies:
            figures.latencies[latency] += 1
        figures.end_second(1.0)
        latencies.sort()
        for percent in (50, 90, 99, 99.9):
            # As the histogram has it: the smallest that so many percent are not above, rounded to a count.
            place = max(1, int(percent / 100 * len(latencies) + 0.5))
            exact = latencies[place - 1]
            value = figures.histogram.get_value_at_percentile(percent)
            self.assertTrue(exact <= value <= exact * 1.001 + 1, (percent, exact, value))

    def test_details(self) -> None:
        """Errors are counted by kind; only the first few are told one by one."""
        for number in range(100):
            self.figures.fail("connection lost", f"connection {number}")
        self.figures.fail("unanswered", "two", 2)
        self.assertEqual(self.figures.errors, {"connection lost": 100, "unanswered": 2})
        self.assertEqual(self.figures.details, [f"connection {number}" for number in range(MOST_DETAILS)])

    def test_elapsed(self) -> None:
        """The time goes to the last answer, or to the end of sending if that is later."""
        self.figures.begin(10.0)
        self.figures.sent(12.0)
        self.figures.end(11.0)
        self.assertEqual(self.figures.elapsed, 2.0)
        self.figures.end(12.5)
        self.assertEqual(self.figures.elapsed, 2.5)

    def test_cpu_share(self) -> None:
        """The CPU time of this process while it sends is a share of that time."""
        cpu = 5.0
        self.patch(time, "process_time", lambda: cpu)
        self.figures.begin(10.0)
        cpu = 6.5
        self.figures.sent(12.0)
        cpu = 9.0
        self.figures.end(13.0)
        self.assertEqual(self.figures.cpu_share, 0.75)
