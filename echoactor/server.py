"""Listening: opening the ports of a socket server, and closing them."""

from __future__ import annotations

from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from .errors import ListenError
from .protocol import ActorFactory, ConnectionSupervisor
from .specs import ChildSpec, SupervisorSpec

__all__ = ["Listener", "server_spec"]

_log = Logger()


class Listener(Service):
    """
    Listens on one endpoint while it runs.

    As a child of an :class:`~echoactor.ActorSystem` it closes before the
    connections do. Its port is open when ``privilegedStartService`` (before
    ``twistd --uid`` drops privileges) or ``startService`` returns.

    :param endpoint: where to listen.
    :param factory: makes the connections' protocols.
    :param description: names the endpoint in log lines and errors.
    """

    def __init__(self, endpoint: IStreamServerEndpoint, factory: IProtocolFactory, description: str) -> None:
        self._endpoint = endpoint
        self._factory = factory
        self._description = description
        self._wanted = False  # open, or about to be
        self.port: IListeningPort | None = None

    def privilegedStartService(self) -> None:
        """
        Open the port, unless it is open already.

        :raises ListenError: it cannot be opened; the text names the endpoint and the cause.
        """
        Service.privilegedStartService(self)
        self._open()

    def startService(self) -> None:
        """Open the port, unless it is open already; see :meth:`privilegedStartService`."""
        Service.startService(self)
        self._open()

    def stopService(self) -> Deferred[Any] | None:
        """
        Close the port.

        :returns: a Deferred that fires when it is closed.
        """
        Service.stopService(self)
        self._wanted = False
        port, self.port = self.port, None
        return None if port is None else maybeDeferred(port.stopListening)

    def _open(self) -> None:
        if self._wanted:
            return
        self._wanted = True
        failures: list[Failure] = []
        opening = self._endpoint.listen(self._factory)
        opening.addCallbacks(self._opened, failures.append)
        if failures:
            self._wanted = False
            raise ListenError(f"cannot listen on {self._description}: {_cause(failures[0])}")
        # An endpoint that takes its time has nobody to raise to any more.
        opening.addCallback(lambda _: self._log_late(failures))

    def _opened(self, port: IListeningPort) -> None:
        if not self._wanted:  # stopped meanwhile
            port.stopListening()
            return
        self.port = port
        where = str(port.getHost())
        _log.info("listening on {address} ({endpoint})", address=where, endpoint=self._description)

    def _log_late(self, failures: list[Failure]) -> None:
        for failure in failures:
            self._wanted = False
            _log.error(
                "cannot listen on {endpoint}: {cause}", endpoint=self._description, cause=_cause(failure)
            )


def server_spec(endpoint: IStreamServerEndpoint, factory: ActorFactory, description: str) -> SupervisorSpec:
    """
    A socket server as a child of a supervisor.

    Its connections are the children of one supervisor, and the listener stands
    beside it: it closes before they do, and is opened again when they all had to go.

    :param endpoint: where to listen.
    :param factory: makes the connections' protocols.
    :param description: names the endpoint in log lines and errors.
    """
    return SupervisorSpec(
        [
            ChildSpec(ConnectionSupervisor, factory, id="connections"),
            ChildSpec(Listener(endpoint, factory, description), id="listener"),
        ],
        strategy="rest_for_one",
    )


def _cause(failure: Failure) -> str:
    """The operating system's own words, where there are some."""
    error = getattr(failure.value, "socketError", failure.value)
    return getattr(error, "strerror", None) or str(error)
