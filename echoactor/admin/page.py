"""The page, and the stream of what it shows."""

from __future__ import annotations

from pathlib import Path

from twisted.web.resource import IResource

from .site import Data
from .stream import Streams
from .watch import Watch

__all__ = ["page_parts"]

FILES = {
    "": ("page.html", "text/html; charset=utf-8"),
    "page.css": ("page.css", "text/css; charset=utf-8"),
    "page.js": ("page.js", "text/javascript; charset=utf-8"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
}


def page_parts(watch: Watch) -> dict[bytes, IResource]:
    """
    What the page consists of.

    :param watch: looks at what it shows.
    :returns: a resource for each path below the root; the page itself is at the empty one.
    """
    here = Path(__file__).parent
    parts: dict[bytes, IResource] = {b"events": Streams(watch)}
    for path, (file, kind) in FILES.items():
        parts[path.encode()] = Data((here / file).read_bytes(), kind)
    return parts
