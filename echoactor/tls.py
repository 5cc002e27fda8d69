"""The certificates of a server: chosen by the host that a client names, and loaded again while it runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IProtocolFactory
from twisted.logger import Logger
from zope.interface import implementer

from .errors import CertificateError
from .options import ServerOptions
from .text import reasons_of_openssl
from .transport import ConnectionTransport

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from OpenSSL.SSL import Connection, Context
    from twisted.internet.ssl import CertificateOptions

__all__ = ["Certificates"]

_log = Logger()

Value = TypeVar("Value")


@implementer(IOpenSSLServerConnectionCreator)
class Certificates:
    """
    The certificates of a server, and whose certificates its clients must have.

    The host that a client names (SNI) chooses in ``certificate_directory``: by
    a certificate's own names, or by a wildcard like ``*.example.org``, which
    stands for one label. Other clients get ``certificate``, or are refused where there is none.

    :param options: those about TLS.
    :raises CertificateError: a file cannot be used; the text names option and file, and what is wrong.
    """

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self.reload()

    def reload(self) -> None:
        """
        Load all files again, for connections to come.

        :raises CertificateError: one cannot be used; then all stay as they are.
        """
        self._current = _load(self._options)

    def factory(self, inner: IProtocolFactory, clock: Any) -> IProtocolFactory:
        """
        Put TLS before the connections of a factory.

        :param inner: makes their protocols.
        :param clock: an ``IReactorTime``.
        """
        from twisted.protocols.tls import TLSMemoryBIOFactory

        return TLSMemoryBIOFactory(self, False, inner, clock=clock)

    def serverConnectionForTLS(self, protocol: Any) -> Connection:
        """Begin a connection with what is loaded now; see ``IOpenSSLServerConnectionCreator``."""
        connection = self._current.serverConnectionForTLS(protocol)
        shut_down = connection.shutdown

        def write_out_and_shut_down() -> bool:
            # Twisted shuts down as soon as the peer has. What the peer still has to get, and what
            # waits for it to read, has to be in before: TLS takes nothing afterwards, and says nothing.
            transport = protocol.wrappedProtocol.transport
            if isinstance(transport, ConnectionTransport):
                transport.write_out()
            return shut_down()

        connection.shutdown = write_out_and_shut_down  # type: ignore[method-assign]  # of this one alone
        return connection


def _load(options: ServerOptions) -> CertificateOptions:
    """Load and check all files; contexts belong together, also those of handshakes that still go on."""
    try:
        from twisted.internet import ssl
    except ImportError as error:
        option = "certificate" if options.certificate is not None else "certificate_directory"
        raise CertificateError(
            f"{option}: needs the package {error.name} (pip install 'echoactor[tls]')"
        ) from None

    trust = {} if options.client_ca is None else {"trustRoot": _load_authorities(options.client_ca)}
    contexts: dict[str, Context] = {}
    files: dict[str, Path] = {}
    for file in _files_of(options.certificate_directory):
        option = f"certificate_directory: {str(file)!r}"
        names, made = _read(option, file, file)
        context = _context_of(option, ssl.CertificateOptions(**made, **trust))
        for name in names:
            if name in files:
                raise CertificateError(f"{option}: {str(files[name])!r} is for {name}, too")
            contexts[name], files[name] = context, file
        if not names:
            raise CertificateError(f"{option}: its certificate names no host (subjectAltName)")

    made, option = {}, "certificate"
    if options.certificate is not None:
        option = f"certificate: {options.certificate!r}"
        _, made = _read(option, Path(options.certificate), Path(options.private_key or options.certificate))

    def choose(server_name: bytes | None) -> Context | None:
        name = (server_name or b"").decode("ascii", "replace").lower().rstrip(".")
        return contexts.get(name) or contexts.get("*." + name.partition(".")[2])

    options_of_all = ssl.CertificateOptions(**made, **trust, contextForServerName=choose)
    _context_of(option, options_of_all)  # made now, or the first client would find out what is wrong
    return options_of_all


def _context_of(option: str, options: CertificateOptions) -> Context:
    """What OpenSSL makes of a certificate and its key, which it may not like."""
    try:
        return options.getContext()
    except Exception as error:
        why = reasons_of_openssl(error) or error
        raise CertificateError(f"{option}: OpenSSL does not take it: {why}") from None


def _files_of(directory: str | None) -> list[Path]:
    """The PEM files of the directory."""
    if directory is None:
        return []
    option = f"certificate_directory: {directory!r}"
    path = Path(directory)
    _try(option, lambda: list(path.iterdir()))
    files = sorted(path.glob("*.pem"))
    if not files:
        raise CertificateError(f"{option}: has no .pem file")
    return files


def _read(option: str, file: Path, key_file: Path) -> tuple[list[str], dict[str, Any]]:
    """The hosts of a certificate, and what makes its context."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from cryptography.x509 import DNSName, ExtensionNotFound, SubjectAlternativeName

    certificate, *chain = _read_certificates(option, file)
    key_option = option if key_file == file else f"private_key: {str(key_file)!r}"
    key: Any = _try(
        key_option, lambda: load_pem_private_key(key_file.read_bytes(), None), "holds no private key"
    )
    if key.public_key() != certificate.public_key():
        raise CertificateError(f"{key_option}: is not the key of the certificate")
    for one, issuer in zip((certificate, *chain), chain, strict=False):
        try:
            one.verify_directly_issued_by(issuer)
        except Exception:  # it has several ways of saying no
            names = [one.subject.rfc4514_string(), issuer.subject.rfc4514_string()]
            line = "the chain is broken: {} was not issued by the next, {}".format(*names)
            raise CertificateError(f"{option}: {line}") from None
    # A warning, as a certificate that ran out is no reason not to serve the other hosts, nor those
    # clients that do not mind.
    if not certificate.not_valid_before_utc <= datetime.now(timezone.utc) <= certificate.not_valid_after_utc:
        _log.warn(
            "{option}: the certificate is valid from {start} to {end}, and not now",
            option=option,
            start=str(certificate.not_valid_before_utc),
            end=str(certificate.not_valid_after_utc),
        )
    try:
        subject = certificate.extensions.get_extension_for_class(SubjectAlternativeName)
        hosts = [name.lower() for name in subject.value.get_values_for_type(DNSName)]
    except ExtensionNotFound:
        hosts = []
    except Exception as error:  # cryptography has several kinds for what it cannot read
        raise CertificateError(f"{option}: the names in it cannot be read: {error}") from None
    return hosts, {"privateKey": key, "certificate": certificate, "extraCertChain": chain}


def _read_certificates(option: str, file: Path) -> list[Certificate]:
    from cryptography.x509 import load_pem_x509_certificates

    return _try(option, lambda: load_pem_x509_certificates(file.read_bytes()), "holds no certificate")


def _load_authorities(file: str) -> Any:
    """Who must have signed the clients' certificates."""
    from OpenSSL.crypto import X509
    from twisted.internet.ssl import Certificate, trustRootFromCertificates

    found = _read_certificates(f"client_ca: {file!r}", Path(file))
    return trustRootFromCertificates([Certificate(X509.from_cryptography(one)) for one in found])


def _try(option: str, read: Callable[[], Value], otherwise: str = "") -> Value:
    """
    Read something.

    :raises CertificateError: it cannot be read, or is something else.
    """
    try:
        return read()
    except OSError as error:
        raise CertificateError(f"{option}: {error.strerror}") from None
    except TypeError:  # what cryptography raises for a key without its password
        raise CertificateError(f"{option}: the private key is encrypted, and nobody is here to ask") from None
    except ValueError:
        raise CertificateError(f"{option}: {otherwise}") from None
