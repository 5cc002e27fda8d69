"""The figures of a system, counted while it runs and read when somebody looks."""

from __future__ import annotations

from typing import Any

from ..system import ActorSystem

__all__ = ["Figures"]


class Figures:
    """
    What a system has done, and what it does.

    :param system: whose figures they are.
    """

    def __init__(self, system: ActorSystem) -> None:
        self._system = system

    def snapshot(self) -> dict[str, Any]:
        """All figures, now: numbers, texts, lists and dicts of these alone, so that they can be sent on."""
        return {"actors": {"alive": self._system.count_actors()}}
