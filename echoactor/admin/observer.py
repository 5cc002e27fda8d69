"""The observer of a system, as a service."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory

from ..endpoints import endpoint_of
from ..figures import Figures
from ..listening import Listener
from ..options import ServerOptions
from ..system import ActorSystem
from ..tls import Certificates
from .access import Access, description_of, is_private
from .health import Health, why_not_alive, why_not_ready
from .metrics import Metrics, Snapshots
from .page import page_parts
from .site import Root, Site
from .watch import Watch

__all__ = ["Observer"]


class Observer(Service):
    """
    Shows a system over HTTP: a live page, metrics, health. It changes nothing.

    It is a service; put it under the system, and it is there until the system has drained::

        Observer(system, 9090).setServiceParent(system)

    :param system: what it shows.
    :param endpoint: where it listens: a port of this machine's loopback interface, or a server endpoint of
        Twisted's, such as ``unix:/run/echo-admin`` or ``tcp:9090``. One that others can reach needs a token
        file or ``client_ca``.
    :param token_file: holds the token that requests must have.
    :param certificate: PEM file with key, certificate and chain, for HTTPS.
    :param client_ca: PEM file with the authorities that clients' certificates must be signed by.
    :param hosts: names by which it is reached, beside ``localhost`` and addresses.
    :param others: gives a Deferred with the figures of further processes, by worker, where connections
        are in those; ``system`` itself then is worker 0.
    :raises ValueError: one of these is wrong; the text names it, and says what would be right.
    :raises CertificateError: a certificate cannot be used; the text names the file.
    """

    def __init__(
        self,
        system: ActorSystem,
        endpoint: int | str,
        *,
        token_file: str | None = None,
        certificate: str | None = None,
        client_ca: str | None = None,
        hosts: Iterable[str] = (),
        others: Callable[[], Deferred[Snapshots]] | None = None,
    ) -> None:
        description = description_of(endpoint)
        reactor: Any = system.reactor
        try:
            where = endpoint_of(reactor, description)
        except ValueError as error:
            raise ValueError(f"endpoint: {error}") from None
        if client_ca is not None and certificate is None:
            raise ValueError(f"client_ca: {client_ca!r} needs `certificate`, the server's own")
        if not is_private(description) and token_file is None and client_ca is None:
            why = f"{description!r} may be reached from other machines, and then `token_file` is needed"
            raise ValueError(
                f"endpoint: {why}, or `client_ca`; a number alone is a port of this machine only"
            )
        self._access = Access(token_file, hosts)
        self._certificates: Certificates | None = None
        if certificate is not None:
            options = ServerOptions(tls_port=0, certificate=certificate, client_ca=client_ca)
            self._certificates = Certificates(options)
        self._others = others
        self.figures = Figures(system)
        self._watch = Watch(self.figures, has_others=others is not None)
        self._site = Site(self._tree(system), self._access, system.timers, system.reactor)
        factory: IProtocolFactory = self._site
        if self._certificates is not None:
            factory = self._certificates.factory(factory, system.reactor)
        self._listener = Listener(where, factory, f"admin, {description}", self._site.gate, system.timers)

    @property
    def address(self) -> Any:
        """Where it listens (``IAddress``); None when it does not."""
        return None if self._listener.port is None else self._listener.port.getHost()

    def privilegedStartService(self) -> None:
        """
        Open the port.

        :raises ListenError: it cannot be opened; the text says why.
        """
        super().privilegedStartService()
        self._listener.open()

    def startService(self) -> None:
        """Open the port, unless it is open."""
        self._listener.open()
        super().startService()
        self.figures.start()
        self._watch.recorder.listen()

    def disownServiceParent(self) -> Any:
        """Leave the service that this is under; nothing of the system's is listened to any more."""
        stopped = super().disownServiceParent()
        self.figures.close()
        self._watch.close()
        return stopped

    def stopService(self) -> Deferred[None]:
        """Close the port and all connections."""
        super().stopService()
        self.figures.stop()
        self._watch.stop()
        self._site.close()
        return self._listener.close().addCallback(lambda _: self._site.close())  # who came meanwhile

    def reload(self) -> None:
        """
        Read the token and the certificates again. Streams end: who watches has to show anew that he may.

        :raises ValueError, CertificateError: one cannot be used, and stays as it was.
        """
        self._site.close_streams()
        try:
            self._access.reload()
        finally:  # each, whatever is wrong with the other
            if self._certificates is not None:
                self._certificates.reload()

    def _read(self) -> Snapshots | Deferred[Snapshots]:
        own = {"0": self.figures.snapshot()}
        return own if self._others is None else self._others().addCallback(lambda others: {**own, **others})

    def _tree(self, system: ActorSystem) -> Root:
        root = Root()
        root.putChild(b"healthz", Health(lambda: why_not_alive(system)))
        root.putChild(b"readyz", Health(lambda: why_not_ready(system)))
        root.putChild(b"metrics", Metrics(self._read))
        for path, part in page_parts(self._watch).items():
            root.putChild(path, part)
        return root
