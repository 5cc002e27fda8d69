"""How often is too often."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from echoactor.children import RestartLimit


class RestartLimitTests(SynchronousTestCase):
    def passed(self, intensity: int, period: float, *times: float) -> list[bool]:
        limit = RestartLimit(intensity, period)
        return [limit.is_passed(time) for time in times]

    def test_within_the_period(self) -> None:
        """32: One more than intensity within the period is too many; a restart at its very end counts."""
        self.assertEqual(self.passed(2, 5.0, 0, 1, 5), [False, False, True])
        self.assertEqual(self.passed(0, 5.0, 0), [True])

    def test_spaced_wider(self) -> None:
        """33: What lies further back than the period does not count."""
        self.assertEqual(self.passed(1, 5.0, 0, 5.1, 10.2, 15.3, 20.3), [False] * 4 + [True])
