"""What comes from outside, in words: as people write it, and without control characters."""

from __future__ import annotations

from os import fsdecode
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.python.reflect import safe_repr

__all__ = ["peer_in_words", "printable", "reasons_of_openssl"]


def printable(text: str, keep: str = "") -> str:
    """
    Text of unknown origin, with all that is not printable escaped: that may steer a terminal, or end a line.

    :param keep: what is not escaped all the same.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in keep else repr(one)[1:-1] for one in text)


def peer_in_words(peer: Any) -> str:
    """The other end of a connection, as people write it; an ``IAddress``, or None when it is not known."""
    if peer is None:
        return "somebody"
    if isinstance(peer, UNIXAddress):
        return f"unix:{printable(fsdecode(peer.name))}" if peer.name else "unix"
    host = getattr(peer, "host", None)
    if host is None:
        return printable(safe_repr(peer))
    return printable(f"[{host}]:{peer.port}" if ":" in host else f"{host}:{peer.port}")


def reasons_of_openssl(error: BaseException) -> str:
    """What OpenSSL says in its exceptions, in lists of tuples with codes; empty for other exceptions."""
    if type(error).__module__ == "OpenSSL.SSL" and error.args and isinstance(error.args[0], list):
        return ", ".join(entry[-1] for entry in error.args[0])
    return ""
