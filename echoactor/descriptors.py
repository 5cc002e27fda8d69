"""The operating system's limit on open files, of which each connection is one."""

from __future__ import annotations

import resource

from twisted.logger import Logger

__all__ = ["make_room_for"]

_log = Logger()

OTHERS = 64
"""Descriptors for what is not a connection: logs, ports, the reactor's own, a
database's."""


def make_room_for(connections: int) -> None:
    """
    See that so many connections can be open at once: raise the soft limit of
    this process as far as needed, to the hard one at most, and warn if that is not enough.

    Only as far as needed, because child processes inherit it, and some
    programs close or count all descriptors up to it.
    """
    needed = connections + OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _suffices(soft, needed):
        return
    raised = needed if _suffices(hard, needed) else hard
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    except (OSError, ValueError):
        raised = soft
    if raised < needed:
        _log.warn(
            "{connections} connections need {needed} open files, and only {raised} are allowed: "
            "raise the limit (ulimit -n, LimitNOFILE=), or lower max_connections to {fitting}",
            connections=connections,
            needed=needed,
            raised=raised,
            fitting=max(1, raised - OTHERS),
        )


def _suffices(limit: int, needed: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= needed
