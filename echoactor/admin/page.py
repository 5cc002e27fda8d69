"""The page, and the stream of what it shows."""

from __future__ import annotations

from typing import Any

from twisted.web.resource import IResource

from ..system import ActorSystem
from .site import Text

__all__ = ["page_parts"]


def page_parts(system: ActorSystem, snapshot: Any) -> dict[bytes, IResource]:
    """
    What the page consists of.

    :param snapshot: what gives the figures, a dict; see :class:`~echoactor.admin.figures.Figures`.
    :returns: a resource for each path below the root; the page itself is at the empty one.
    """
    return {b"": Text(200, "the page is not there yet")}
