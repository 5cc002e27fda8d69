"""Who may look: this machine alone, or who has a token or a certificate, and never a stranger's page."""

from __future__ import annotations

import os
import re
import stat
from base64 import b64decode
from collections.abc import Iterable
from hmac import compare_digest
from ipaddress import ip_address
from pathlib import Path
from typing import Any

__all__ = ["Access", "description_of", "is_private"]

SHORTEST_TOKEN = 16
"""Characters of a token; a shorter one can be guessed."""

OPEN = (b"/healthz", b"/readyz")
"""They want no token: an orchestrator's probe has none, and they tell one word."""


class Access:
    """
    Says which requests are answered.

    :param token_file: holds the token that requests must have; None if they need none.
    :param hosts: names by which it is reached, beside ``localhost`` and addresses.
    :raises ValueError: the file cannot be used, or a host is no name of one; the text says why.
    """

    def __init__(self, token_file: str | None, hosts: Iterable[str]) -> None:
        if isinstance(hosts, str):
            raise ValueError(f"hosts: {hosts!r} is one text, and not several: [{hosts!r}]")
        self._token_file = token_file
        self._hosts = {_checked_host(host).lower().rstrip(".") for host in hosts}
        self.reload()

    def reload(self) -> None:
        """
        Read the token again.

        :raises ValueError: it cannot be used, and stays as it was.
        """
        self._token = None if self._token_file is None else _read_token(self._token_file)

    def refusal(self, request: Any) -> tuple[int, str] | None:
        """Why a request is not answered: a status of HTTP's and a line; None if it is."""
        if request.method not in (b"GET", b"HEAD"):
            request.setHeader(b"Allow", b"GET, HEAD")
            return 405, "only GET and HEAD: nothing here can be changed"
        # A page in this machine's browser can have a name of its own lead here (DNS rebinding), and
        # would read along. It cannot forge this header; and an address leads where it says.
        # (What asks by HTTP/1.0 and names none is no browser; load balancers do so.)
        hosts = request.requestHeaders.getRawHeaders(b"host") or []
        if not self._knows(hosts) and (hosts or request.clientproto != b"HTTP/1.0"):
            return 421, "unknown host: use localhost or an address, or give the name as --admin-host"
        if self._token is not None and request.path not in OPEN and not self._has_token(request):
            return 401, "a token is needed: as a bearer token, or as the password"
        return None

    def _knows(self, headers: list[bytes]) -> bool:
        if len(headers) != 1:
            return False
        host = re.sub(r":\d*$", "", headers[0].decode("ascii", "replace")).lower().rstrip(".")
        if host == "localhost" or host in self._hosts:
            return True
        try:
            ip_address(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
        except ValueError:
            return False
        return True

    def _has_token(self, request: Any) -> bool:
        """Whether it brings the token: as a program does, or as a browser that asked for a password."""
        [header, *_] = request.requestHeaders.getRawHeaders(b"authorization") or [b""]
        kind, _, value = header.strip().partition(b" ")
        if kind.lower() == b"basic":
            try:
                value = b64decode(value.strip(), validate=True).partition(b":")[2]
            except ValueError:
                return False
        elif kind.lower() != b"bearer":
            return False
        assert self._token is not None
        # In a time that does not tell how much of it was right.
        return compare_digest(value.strip(), self._token)


def _checked_host(host: str) -> str:
    if not re.fullmatch(r"[\w.-]+", host, re.ASCII):
        raise ValueError(f"hosts: {host!r} is no host name, which has neither port nor wildcard")
    return host


def _read_token(file: str) -> bytes:
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):  # a pipe might keep the whole process waiting
            raise ValueError(f"token_file: {file!r} is no regular file")
        token = Path(file).read_bytes().strip()
    except OSError as error:
        raise ValueError(f"token_file: {file!r}: {error.strerror}") from None
    if len(token) < SHORTEST_TOKEN or not re.fullmatch(rb"[!-~]+", token):
        wanted = f"one line of at least {SHORTEST_TOKEN} printable characters without a space"
        raise ValueError(f"token_file: {file!r} holds no token, which is {wanted}")
    return token


def description_of(endpoint: int | str) -> str:
    """
    The endpoint as Twisted describes it: a number is a port of this machine alone.

    :raises ValueError: it is no port.
    """
    text = str(endpoint)
    if not re.fullmatch(r"\d+", text, re.ASCII):
        kind, *arguments = re.split(r"(?<!\\):", text)
        # Others of this machine's users get in only when they are let. A mode may come by its place.
        names = [one.partition("=")[0] if "=" in one else "" for one in arguments]
        is_open = kind == "unix" and "mode" not in names and names.count("") < 2
        return f"{text}:mode=600" if is_open else text
    if len(text) > 5 or int(text) > 65535:
        raise ValueError(f"endpoint: {text} is not a number from 0 to 65535")
    return f"tcp:{int(text)}:interface=127.0.0.1"


def is_private(description: str) -> bool:
    """Whether nobody outside this machine can reach an endpoint; of what is not understood, no."""
    kind, *arguments = re.split(r"(?<!\\):", description)
    if kind == "unix":
        return True
    interfaces = [one.partition("=")[2] for one in arguments if one.startswith("interface=")]
    if kind not in ("tcp", "tcp6") or len(interfaces) != 1:
        return False
    interface = interfaces[0].replace("\\", "")
    try:
        return interface == "localhost" or ip_address(interface).is_loopback
    except ValueError:
        return False
