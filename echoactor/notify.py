"""Telling systemd how the service is, as ``sd_notify(3)`` does."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

from twisted.logger import Logger

__all__ = ["Notifier"]

_log = Logger()


class Notifier:
    """
    Tells systemd; where nobody asked to be told, it does nothing.

    :param environment: where ``NOTIFY_SOCKET`` may say whom to tell.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        # A leading @ stands for the null byte of Linux's abstract sockets.
        self._socket = environment.get("NOTIFY_SOCKET", "").replace("@", "\0", 1)

    def ready(self) -> None:
        """The service serves, for the first time or again."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """The service loads its files again; :meth:`ready` ends that."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The service has begun to stop."""
        self._tell("STOPPING=1")

    def _tell(self, state: str) -> None:
        if not self._socket:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
                systemd.setblocking(False)
                systemd.sendto(state.encode(), self._socket)
        except (OSError, ValueError) as error:
            _log.warn("NOTIFY_SOCKET {where!r}: {cause}", where=self._socket, cause=str(error))
            self._socket = ""  # once is enough
