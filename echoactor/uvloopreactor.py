"""
A Twisted reactor on uvloop's event loop: ``twistd --reactor=uvloop``.

TCP connections, servers' and clients', and TLS over them, read and write
through uvloop's own transports. All else (UNIX sockets, datagrams, processes,
threads, timers) works as on Twisted's asyncio reactor, which this one is.

What a connection means stays Twisted's business: :class:`Stream` is a
Twisted connection whose reads and writes alone are done by uvloop. So
buffers, producers, half-closes, aborts and ``startTLS`` are Twisted's own code.

It uses of Twisted's private parts, and of nobody else's:

- ``FileDescriptor``: ``_tempDataBuffer``, ``_tempDataLen``, ``_isSendBufferFull``, ``_maybePauseProducer``,
  ``_writeDisconnecting``
- ``tcp``: ``_aborting``, ``_connectDone``, ``_closeSocket``, ``_shouldShutdown``, ``_makeTransport``,
  ``_fromListeningDescriptor``, ``_fromConnectedSocket``
- the reactors: ``_asyncioEventloop``, ``_disconnectSelectable``, ``_onTimer``, ``_removeAll``,
  ``_signalsFactory``, ``_MultiSignalHandling``

The tests of Twisted for its own reactors run against it: ``tests/test_uvloopreactor.py``.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import struct
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any

import uvloop
from twisted.internet import process, tcp
from twisted.internet._signals import _MultiSignalHandling
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.base import ReactorBase
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST, installReactor
from twisted.logger import Logger
from twisted.python import context
from twisted.python.log import ILogContext

__all__ = ["UvloopReactor", "install"]

_log = Logger()

_stream: ContextVar[Stream | None] = ContextVar("_stream", default=None)
"""Whose bytes are being handled. uvloop enters a connection's context around each
of its calls anyway, so that to know this costs nothing."""

TLS_PROTOCOL: tuple[type, ...] = ()
"""What encrypts, from outside. It writes often and little, and counts on an abort to
drop what it has just written: a goodbye that arrives would make the abort a clean close."""
try:
    from twisted.protocols.tls import TLSMemoryBIOProtocol

    TLS_PROTOCOL = (TLSMemoryBIOProtocol,)
except ImportError:
    pass  # without pyOpenSSL there is no TLS

ABORT = struct.pack("ii", 1, 0)
"""Linger for no time: closing then resets the connection."""

if TYPE_CHECKING:
    _Connection = tcp.Connection
else:
    _Connection = object  # it is mixed into Server and Client, which are Connections


class Stream(_Connection):
    """
    A TCP connection of Twisted's that reads and writes through a transport of uvloop's.

    uvloop takes over a connected socket in the next turn of its loop; what is
    written until then waits, as any write does that cannot be sent at once.
    """

    reactor: Any
    is_connected = True  # to a peer; before, Twisted watches the socket itself
    _uv: Any = None  # uvloop's transport, from the turn on in which it is ready
    _is_handed_over = False
    _reads = False  # wants to
    _writes = False  # has something to
    _is_full = False  # uvloop holds bytes that the socket did not take
    _is_flush_due = False
    _early = b""  # came before anybody wanted to read
    _context: Context | None = None  # in which its bytes are handled
    _write_now: Any = None  # uvloop's ``write``, while nothing is ahead and nothing in between

    # What the reactor asks for

    def start_reading(self) -> None:
        if self._aborting:
            return  # Twisted drops what comes from now on, by a doRead that does nothing
        self._reads = True
        if not self._is_handed_over:
            self._hand_over()
        elif self._early:
            self._call_soon(self._deliver_early)
        elif self._uv is not None:
            self._uv.resume_reading()

    def stop_reading(self) -> None:
        self._reads = False
        if self._uv is not None:
            self._uv.pause_reading()

    def start_writing(self) -> None:
        self._writes = True
        self._write_now = None
        if not self._is_handed_over:
            self._hand_over()
        self._flush_soon()

    def stop_writing(self) -> None:
        self._writes = False
        self._choose_write_path()

    # What uvloop calls: this is an asyncio.Protocol

    def connection_made(self, transport: Any) -> None:
        self._uv = transport
        if self.disconnected:
            transport.abort()
            return
        # Say so whenever anything is left unsent, and again when nothing is.
        transport.set_write_buffer_limits(high=0)
        self._choose_write_path()
        self._flush_soon()

    def data_received(self, data: bytes) -> None:
        if not self._reads:
            # uvloop begins to read by itself, and a pause before that does not count.
            self._uv.pause_reading()
            self._early = data
            return
        try:
            self.protocol.dataReceived(data)
        except BaseException as error:
            self._failed(error, is_read=True)

    def eof_received(self) -> bool:
        if self._reads:  # else the next read brings it again
            self._lost(CONNECTION_DONE, is_read=True)
        return True  # it is for Twisted to close

    def pause_writing(self) -> None:
        self._is_full = True
        self.startWriting()
        try:
            self._maybePauseProducer()
        except BaseException:
            # It would be uvloop's, which keeps it from whoever writes, and from Twisted's log.
            self._log_failure()
            self.abortConnection()

    def resume_writing(self) -> None:
        self._is_full = False
        self._flush()

    def connection_lost(self, error: BaseException | None) -> None:
        if not self.disconnected:
            self._lost(CONNECTION_LOST, is_read=True)
        # Else it would be garbage that only the collector finds: they know each other.
        self._uv = self._context = None

    # Writing

    def write(self, data: bytes) -> None:
        """Write; see ``ITransport``."""
        write = self._write_now
        if write is not None and data.__class__ is bytes:
            write(data)
        else:
            super().write(data)

    def doWrite(self) -> Any:
        """Hand over what waits; when uvloop has sent all of it, do what Twisted does then."""
        if self._tempDataLen:
            data = b"".join(self._tempDataBuffer)
            self._tempDataBuffer = []
            self._tempDataLen = 0
            self._uv.write(data)
            if self._is_full:
                return None
        return super().doWrite()

    def writeSomeData(self, data: bytes) -> int:
        """Nothing is left to write, when Twisted asks; see :meth:`doWrite`."""
        return len(data)

    def _isSendBufferFull(self) -> bool:
        held = 0 if self._uv is None else self._uv.get_write_buffer_size()
        return bool(self._tempDataLen + held > self.bufferSize)

    def _flush_soon(self) -> None:
        if self._writes and self._uv is not None and not self._is_full and not self._is_flush_due:
            self._is_flush_due = True
            self._call_soon(self._flush)

    def _flush(self) -> None:
        self._is_flush_due = False
        if not self._writes or self._is_full or self.disconnected:
            return
        try:
            why = self.doWrite()
        except BaseException as error:
            self._failed(error, is_read=False)
            return
        if why:
            self._lost(why, is_read=False)
        else:
            self._flush_soon()

    def _choose_write_path(self) -> None:
        """Let writes go to uvloop at once, if they may."""
        is_open = not (self.disconnected or self._writeDisconnecting)
        if self._uv is not None and is_open and not (self._writes or self._is_full or self._must_wait()):
            self._write_now = self._uv.write
        else:
            self._write_now = None

    def _must_wait(self) -> bool:
        """Whether something comes in between: TLS, or a producer that is asked for more at each flush."""
        pulls = self.producer is not None and not self.streamingProducer
        return pulls or self.TLS or isinstance(self.protocol, TLS_PROTOCOL)

    # What may come between a write and the socket

    def startTLS(self, *args: Any) -> None:
        """Encrypt from now on; see ``ITLSTransport``."""
        try:
            super().startTLS(*args)
        finally:
            # Not before: it unregisters a producer first, which opens the direct way again.
            self._choose_write_path()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See ``IConsumer``."""
        super().registerProducer(producer, streaming)
        if not streaming and not self.disconnected:
            # What Twisted would still buffer may be sent already; it is asked for more all the same.
            self.startWriting()

    def unregisterProducer(self) -> None:
        """See ``IConsumer``."""
        super().unregisterProducer()
        self._choose_write_path()

    def abortConnection(self) -> None:
        """See ``ITCPTransport``."""
        self._write_now = None
        super().abortConnection()

    # Beginning and end

    def _hand_over(self) -> None:
        self._is_handed_over = True
        self._context = copy_context()
        self._context.run(_stream.set, self)
        self._context.run(self._open)

    def _open(self) -> None:
        """
        Let uvloop make its transport, in this context.

        The coroutine is run by hand: it waits once, for the turn in which
        connection_made is called, and a task would take another turn to begin.
        """
        opening = self.reactor._asyncioEventloop.connect_accepted_socket(lambda: self, self.socket)

        def opened(_: object) -> None:
            for _ in opening:
                pass

        opening.send(None).add_done_callback(opened)

    def _deliver_early(self) -> None:
        if self._early and self._reads and not self.disconnected:
            early, self._early = self._early, b""
            self._uv.resume_reading()
            self.data_received(early)

    def connectionLost(self, reason: Any) -> None:
        """The end; see ``IReadDescriptor``."""
        self._write_now = None
        super().connectionLost(reason)

    def _closeSocket(self, orderly: bool) -> None:
        if not self._is_handed_over:
            super()._closeSocket(orderly)
            return
        # As Twisted does it, but that uvloop closes the socket.
        try:
            if not orderly:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
            elif self._shouldShutdown:
                self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        if self._uv is not None:
            self._uv.abort()

    def _failed(self, error: BaseException, is_read: bool) -> None:
        self._log_failure()
        self._lost(error, is_read)

    def _lost(self, why: BaseException, is_read: bool) -> None:
        try:
            self.reactor._disconnectSelectable(self, why, is_read)
        except BaseException:
            self._log_failure()

    def _log_failure(self) -> None:
        _log.failure("unhandled error in {protocol}", protocol=self.logPrefix())

    def _call_soon(self, function: Any) -> None:
        self.reactor._asyncioEventloop.call_soon(function, context=self._context)


class Server(Stream, tcp.Server):
    """A connection that a port accepted, or that was adopted."""


class Client(Stream, tcp.Client):
    """A connection that was made from here."""

    is_connected = False

    def _connectDone(self) -> None:
        self.is_connected = True
        super()._connectDone()


class Port(tcp.Port):
    """A port whose connections are uvloop's."""

    transport = Server


class Connector(tcp.Connector):
    """Makes connections that are uvloop's."""

    def _makeTransport(self) -> Client:
        return Client(self.host, self.port, self.bindAddress, self, self.reactor)


class _LogContext(dict[Any, Any]):
    """Tells log lines whose bytes are being handled, as Twisted's other reactors do at each call."""

    def __getitem__(self, key: Any) -> Any:
        stream = _stream.get()
        if key is not ILogContext or stream is None:
            raise KeyError(key)
        return {"system": stream.logPrefix(), "isError": 0}


class _ChildSignals:
    """
    SIGCHLD: children have ended.

    Twisted has Python write to a pipe of its own at each signal, and uvloop to
    another one while it runs, so that Twisted's would never hear.
    """

    def __init__(self, reactor: UvloopReactor) -> None:
        self._reactor = reactor

    def install(self) -> None:
        signal.signal(signal.SIGCHLD, self._child_ended)
        signal.siginterrupt(signal.SIGCHLD, False)
        process.reapAllProcesses()  # those that have ended before

    def uninstall(self) -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def _child_ended(self, *_: object) -> None:
        self._reactor.callFromThread(process.reapAllProcesses)


class UvloopReactor(AsyncioSelectorReactor):
    """
    The reactor.

    :param eventloop: a loop of uvloop's; by default, a new one.
    """

    _asyncioEventloop: Any

    def __init__(self, eventloop: asyncio.AbstractEventLoop | None = None) -> None:
        self._reading: dict[Stream, None] = {}
        self._writing: dict[Stream, None] = {}
        self._context = copy_context()
        super().__init__(eventloop or uvloop.new_event_loop())

    def run(self, installSignalHandlers: bool = True) -> None:
        """Run until it is stopped; see ``IReactorCore``."""
        context.call(_LogContext(), super().run, installSignalHandlers)

    def _onTimer(self) -> None:
        # A call that was scheduled while a connection's bytes were handled is not that connection's.
        self._context.run(super()._onTimer)

    def _signalsFactory(self) -> Any:
        # Twisted's own for the others, which PosixReactorBase would put together with its SIGCHLD.
        return _MultiSignalHandling((ReactorBase._signalsFactory(self), _ChildSignals(self)))

    # IReactorFDSet: streams are watched by uvloop itself

    def addReader(self, reader: Any) -> None:
        """See ``IReactorFDSet``."""
        if not isinstance(reader, Stream) or not reader.is_connected:
            super().addReader(reader)
        elif reader not in self._reading and not reader.disconnected:
            self._reading[reader] = None
            reader.start_reading()

    def addWriter(self, writer: Any) -> None:
        """See ``IReactorFDSet``."""
        if not isinstance(writer, Stream) or not writer.is_connected:
            super().addWriter(writer)
        elif writer not in self._writing and not writer.disconnected:
            self._writing[writer] = None
            writer.start_writing()

    def removeReader(self, reader: Any) -> None:
        """See ``IReactorFDSet``."""
        if reader in self._reading:
            del self._reading[reader]
            reader.stop_reading()
        else:
            super().removeReader(reader)

    def removeWriter(self, writer: Any) -> None:
        """See ``IReactorFDSet``."""
        if writer in self._writing:
            del self._writing[writer]
            writer.stop_writing()
        else:
            super().removeWriter(writer)

    def getReaders(self) -> list[Any]:
        """See ``IReactorFDSet``."""
        return [*super().getReaders(), *self._reading]

    def getWriters(self) -> list[Any]:
        """See ``IReactorFDSet``."""
        return [*super().getWriters(), *self._writing]

    def removeAll(self) -> list[Any]:
        """See ``IReactorFDSet``."""
        return [*super().removeAll(), *self._removeAll(self._reading, self._writing)]

    # IReactorTCP, IReactorSocket

    def listenTCP(self, port: Any, factory: Any, backlog: int = 50, interface: str = "") -> Port:
        """See ``IReactorTCP``."""
        listening = Port(port, factory, backlog, interface, self)
        listening.startListening()
        return listening

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30.0, bindAddress: Any = None
    ) -> Connector:
        """See ``IReactorTCP``."""
        connector = Connector(host, port, factory, timeout, bindAddress, self)
        connector.connect()
        return connector

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: Any) -> Any:
        """See ``IReactorSocket``."""
        if addressFamily not in (socket.AF_INET, socket.AF_INET6):
            return super().adoptStreamPort(fileDescriptor, addressFamily, factory)
        listening = Port._fromListeningDescriptor(self, fileDescriptor, addressFamily, factory)
        listening.startListening()
        return listening

    def adoptStreamConnection(self, fileDescriptor: int, addressFamily: int, factory: Any) -> Any:
        """See ``IReactorSocket``."""
        if addressFamily not in (socket.AF_INET, socket.AF_INET6):
            return super().adoptStreamConnection(fileDescriptor, addressFamily, factory)
        return Server._fromConnectedSocket(fileDescriptor, addressFamily, factory, self)


def install() -> None:
    """
    Make it Twisted's reactor, and its loop asyncio's.

    It has to come before anything imports ``twisted.internet.reactor``.
    """
    reactor = UvloopReactor()
    asyncio.set_event_loop(reactor._asyncioEventloop)
    installReactor(reactor)
