"""Where a server listens: ports of its own, and what Twisted's texts describe."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from twisted.internet import tcp
from twisted.internet.defer import Deferred, execute
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from zope.interface import implementer

from .options import ServerOptions

__all__ = ["Place", "PortEndpoint", "endpoint_of", "places_of"]

BEFORE_BACKLOG = {"tcp": 2, "tcp6": 1, "unix": 2}
"""Arguments by place before the backlog, which is 50 in Twisted: what connects to a
queue that is full tries again a second later."""


@implementer(IStreamServerEndpoint)
class PortEndpoint:
    """
    A TCP port. Twisted's endpoints cannot share theirs with other processes.

    :param reactor: an ``IReactorTCP``.
    :param port: its number.
    :param options: those about listening.
    """

    def __init__(self, reactor: Any, port: int, options: ServerOptions) -> None:
        self._reactor = reactor
        self._port = port
        self._options = options

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen; see ``IStreamServerEndpoint``."""
        where, backlog = self._options.interface, self._options.backlog
        port: Any = self._port
        if self._options.reuse_port:
            port = tcp.makeBinding(where, port, reuseAddress=True, reusePort=True)
        return execute(self._reactor.listenTCP, port, protocolFactory, backlog=backlog, interface=where)


class Place(NamedTuple):
    """
    Where a server listens.

    :ivar description: names it in log lines and errors.
    :ivar endpoint: opens it.
    :ivar is_tls: whether the server puts TLS before the connections that come there.
    """

    description: str
    endpoint: IStreamServerEndpoint
    is_tls: bool = False


def places_of(reactor: Any, options: ServerOptions) -> Iterator[Place]:
    """
    Where a server listens, in the order of ``port``, ``tls_port``, ``endpoints``.

    :raises ValueError: the description of an endpoint is wrong; the text names it.
    """
    if options.port is not None:
        yield Place(f"tcp:{options.port}", PortEndpoint(reactor, options.port, options))
    if options.tls_port is not None:
        yield Place(f"tls:{options.tls_port}", PortEndpoint(reactor, options.tls_port, options), is_tls=True)
    for endpoint in options.endpoints:
        if isinstance(endpoint, str):
            try:
                yield Place(endpoint, endpoint_of(reactor, endpoint, options.backlog))
            except ValueError as error:
                raise ValueError(f"endpoints: {error}") from None
        else:
            yield Place(repr(endpoint), endpoint)


def endpoint_of(
    reactor: Any, description: str, backlog: int = ServerOptions().backlog
) -> IStreamServerEndpoint:
    """
    The endpoint that a text of Twisted's describes, such as ``tcp:8080``.

    :param backlog: connections that its queue holds, unless the text says how many.
    :raises ValueError: it describes none; the text says why.
    """
    full = description
    if description.startswith("unix:") and ":lockfile=" not in description:
        # Twisted's lock file names a process. In a container the next server has
        # the same number as the one that died, and would wait for itself.
        full += ":lockfile=0"
    kind, *arguments = re.split(r"(?<!\\):", description)
    by_place = sum("=" not in one for one in arguments)
    if by_place <= BEFORE_BACKLOG.get(kind, -1) and not any(one.startswith("backlog=") for one in arguments):
        full += f":backlog={backlog}"
    try:
        if kind == "stdio":  # Twisted knows it
            raise ValueError("the endpoint type 'stdio' is no place where clients could come")
        endpoint: IStreamServerEndpoint = serverFromString(reactor, full)
    except Exception as error:  # each parser raises what it likes
        why = f"{description!r} cannot be used: {_why_not(error)}"
        raise ValueError(f"{why}; an endpoint is written like tcp:8080 or unix:/run/echo") from None
    return endpoint


def _why_not(error: Exception) -> str:
    """What is wrong with an endpoint string, without the parser's internals."""
    match error:
        case ImportError():
            return f"the package {error.name} is not installed (pip install 'echoactor[tls]')"
        case OSError():
            return f"{error.filename}: {error.strerror}"
        case ValueError() if "endpoint type" in str(error):
            return str(error)
        case LookupError():
            return "no such socket was handed in"
        case _:
            return "its arguments do not fit its type"
