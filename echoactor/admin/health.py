"""Whether it lives, and whether clients should come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.web.resource import Resource

from ..system import ActorSystem
from .site import Text

__all__ = ["Health", "why_not_alive", "why_not_ready"]


class Health(Resource):
    """
    Answers ``ok`` with status 200, or with status 503 why not.

    :param why_not: returns that; None when all is well.
    """

    isLeaf = True

    def __init__(self, why_not: Callable[[], str | None]) -> None:
        super().__init__()
        self._why_not = why_not

    def render(self, request: Any) -> bytes:
        """Answer."""
        why = self._why_not()
        return Text(200 if why is None else 503, why or "ok").render(request)


def why_not_alive(system: ActorSystem) -> str | None:
    """Why a system should be started anew. (That its reactor turns shows in the answer.)"""
    return None if system.is_supervised() else "the top supervisor has ended"


def why_not_ready(system: ActorSystem) -> str | None:
    """Why clients should go elsewhere: one of its servers is suspended, drains, or is closed."""
    if system.is_stopping:
        return "draining"
    if not system.running:
        return "not started"
    return min({server.state for server in system.servers} - {"listening"}, default=None)
