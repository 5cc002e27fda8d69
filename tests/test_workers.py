"""Workers: real processes on shared ports, with the test's own process as their parent."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase

from echoactor import ActorSystem, ServerOptions, sockets, workers as workers_module
from echoactor.errors import CertificateError, ChildError, ListenError
from echoactor.process import name_of
from echoactor.workers import INTENSITY, Workers

from .support import Authority, RealTestCase, log_lines, reactor
from .test_stampede import open_descriptors

CLIENTS = 32  # of which some come to each of two workers, but for one case in 2**31


def echoes(client: socket.socket) -> bool:
    """Whether a client gets back what it sends."""
    try:
        client.sendall(b"hello")
        return client.recv(5, socket.MSG_WAITALL) == b"hello"
    except ConnectionError:
        return False


class WorkersTestCase(RealTestCase):
    """A test with workers; clients are blocking sockets, in a thread."""

    timeout = 60

    async def serve_with(self, number: int, *, is_watched: bool = False, **options: Any) -> Workers:
        """Start workers, until the test is over."""
        options = {"port": 0, "interface": "127.0.0.1", "shutdown_timeout": 1, **options}
        self.workers = Workers(self.system, ServerOptions(**options), number, is_watched=is_watched)
        self.workers.setServiceParent(self.system)
        self.system.startService()
        self.addCleanup(self.system.stopService)
        await self.workers.ready
        self.port = self.workers.addresses[0].port if options["port"] is not None else None
        return self.workers

    def open_clients(self, count: int = CLIENTS) -> list[socket.socket]:
        """Connect so many."""
        clients = [socket.create_connection(("127.0.0.1", self.port), timeout=20) for _ in range(count)]
        for client in clients:
            self.addCleanup(client.close)
        return clients

    async def echoing(self, clients: list[socket.socket]) -> int:
        """How many of the clients are answered."""
        return sum(await self.in_thread(lambda: [echoes(client) for client in clients]))

    async def until(self, condition: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Wait until something is so; returns it."""
        while True:
            result = await condition()
            if result:
                return result
            await deferLater(reactor, 0.02)

    async def figure(self, name: str) -> list[Any]:
        """One of the figures, of each worker that answers."""
        return [figures[name] for figures in await self.workers.figures()]

    async def all_but(self, pids: list[int]) -> list[int] | None:
        """The process numbers of all workers, as soon as there are none of these among them."""
        found = await self.figure("pid")
        return found if len(found) == self.workers.number and not set(found) & set(pids) else None


class ServingTests(WorkersTestCase):
    async def test_all_serve(self) -> None:
        """Port 0 is one port for all workers, each of which is a process and serves a part of the clients."""
        await self.serve_with(2)
        clients = await self.in_thread(self.open_clients)
        self.assertEqual(await self.echoing(clients), CLIENTS)
        figures = await self.workers.figures()
        self.assertEqual([one["worker"] for one in figures], [1, 2])
        self.assertEqual(len({os.getpid(), *(one["pid"] for one in figures)}), 3)
        connections = [one["connections"] for one in figures]
        self.assertEqual(sum(connections), CLIENTS)
        self.assertTrue(all(connections), connections)
        self.assertEqual(connections, [one["arrivals"] for one in figures])
        for one in figures:
            parent = Path(f"/proc/{one['pid']}/stat").read_text().rpartition(")")[2].split()[1]
            self.assertEqual(int(parent), os.getpid())
        self.assertEqual(await self.workers.snapshots(), {})  # nobody watches them

    async def test_one_socket_for_all(self) -> None:
        """Where the kernel does not spread clients over sockets, all workers serve the same one."""
        self.patch(sockets, "SPREADS", False)
        await self.serve_with(2)
        self.assertEqual(self.workers.sockets.of(1), self.workers.sockets.of(2))
        clients = await self.in_thread(self.open_clients)
        self.assertEqual(await self.echoing(clients), CLIENTS)
        self.assertEqual(sum(await self.figure("connections")), CLIENTS)

    async def test_limits_are_divided(self) -> None:
        """No more connections than the limit are open in all workers together."""
        await self.serve_with(2, max_connections=5)
        await self.in_thread(self.open_clients)

        async def full() -> bool:
            return bool(sum(await self.figure("connections")) == 5)

        await self.until(full)
        self.assertEqual(sorted(await self.figure("connections")), [2, 3])

    async def test_says_who_says_what(self) -> None:
        """What a worker logs is in the parent's log, with the worker's number."""
        lines = log_lines(self)
        await self.serve_with(2)
        for number in (1, 2):
            found = [line for line in lines if line.startswith(f"worker {number}: listening on IPv4Address(")]
            self.assertEqual(len(found), 1, lines)

    async def test_state(self) -> None:
        """The state is that of all: listening when the last worker does, and not while one is restarted."""
        workers = Workers(self.system, ServerOptions(port=0, interface="127.0.0.1"), 2)
        self.assertEqual(self.system.servers, [])
        states = [workers.state]
        workers.setServiceParent(self.system)
        self.system.startService()
        self.addCleanup(self.system.stopService)
        await workers.ready
        self.assertEqual(self.system.servers, [workers])
        states.append(workers.state)
        pid = (await workers.figures())[0]["pid"]
        os.kill(pid, signal.SIGKILL)

        async def is_(state: str) -> bool:
            return workers.state == state

        await self.until(partial(is_, "starting"))
        await self.until(partial(is_, "listening"))
        await workers.suspend()
        states.append(workers.state)
        stopped = self.system.stopService()
        states.append(workers.state)
        await stopped
        self.assertEqual(states, ["starting", "listening", "suspended", "draining"])
        self.assertEqual(self.system.servers, [])

    async def test_a_mute_worker(self) -> None:
        """Figures do not wait for ever for a worker that does not answer; snapshots wait even less."""
        await self.serve_with(2, is_watched=True)
        pids = await self.figure("pid")
        self.assertEqual(len(pids), 2)
        self.patch(workers_module, "ANSWER_TIME", 2.0)
        os.kill(pids[0], signal.SIGSTOP)
        await self.until(partial(self.other_alone, self.workers.figures))
        self.assertLess(workers_module.SNAPSHOT_TIME, 5)  # Prometheus waits for 10, others for less
        self.patch(workers_module, "SNAPSHOT_TIME", 0.5)
        self.patch(workers_module, "ANSWER_TIME", 1000.0)
        await self.until(partial(self.other_alone, self.workers.snapshots))
        os.kill(pids[0], signal.SIGCONT)

    async def other_alone(self, ask: Callable[[], Any]) -> bool:
        """Whether worker 2 alone answers; on a busy machine, it may not do so in time either."""
        answers = await ask()
        return [int(one["worker"]) if isinstance(one, dict) else int(one) for one in answers] == [2]

    async def test_unix_socket(self) -> None:
        """A UNIX socket is served by all, keeps the mode that was asked for, and goes when they go."""
        path = self.directory / "echo"
        await self.serve_with(2, port=None, endpoints=[f"unix:{path}:mode=600"])
        pids = await self.figure("pid")
        os.kill(pids[0], signal.SIGKILL)
        await self.until(lambda: self.all_but(pids[:1]))
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)

        def talk() -> bool:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(20)
                client.connect(str(path))
                return echoes(client)

        for _ in range(10):
            self.assertTrue(await self.in_thread(talk))
        await self.system.stopService()
        self.assertFalse(path.exists())


class RestartTests(WorkersTestCase):
    async def test_killed(self) -> None:
        """A worker that dies takes its own connections along, no others, and is replaced."""
        await self.serve_with(2)
        clients = await self.in_thread(self.open_clients)
        self.assertEqual(await self.echoing(clients), CLIENTS)
        first, second = await self.workers.figures()
        os.kill(first["pid"], signal.SIGKILL)
        self.assertEqual(await self.echoing(clients), second["connections"])
        await self.until(lambda: self.all_but([first["pid"]]))
        self.assertEqual((await self.figure("pid"))[1], second["pid"])
        more = await self.in_thread(self.open_clients)
        self.assertEqual(await self.echoing(more), CLIENTS)
        self.assertEqual(len(self.flushLoggedErrors()), 0)

    async def test_restarted_in_order(self) -> None:
        """A worker that ends in order is restarted, with the same socket, and serves its clients again."""
        await self.serve_with(2)
        pids = await self.figure("pid")
        # An order that it cannot carry out twice: it ends, as nobody could order it any more.
        await self.system.call(name_of(1), self.workers.serve(1), timeout=20).addErrback(lambda _: None)
        await self.until(partial(self.all_but, pids[:1]))
        clients = await self.in_thread(self.open_clients)
        self.assertEqual(await self.echoing(clients), CLIENTS)
        self.assertTrue(all(await self.figure("connections")))
        self.flushLoggedErrors(ChildError)

    async def test_queue_outlives_its_worker(self) -> None:
        """Clients in the queue of a worker that dies are not reset, but served by the next."""
        await self.serve_with(2)
        pids = await self.figure("pid")
        os.kill(pids[0], signal.SIGSTOP)  # it accepts nobody any more
        clients = await self.in_thread(self.open_clients)

        os.kill(pids[0], signal.SIGKILL)
        self.assertEqual(await self.echoing(clients), CLIENTS)
        figures = await self.workers.figures()
        self.assertNotIn(pids[0], [one["pid"] for one in figures])
        self.assertTrue(all(one["connections"] for one in figures), figures)

    async def test_nothing_is_left(self) -> None:
        """After restarts, suspension and the stop, no descriptor is left, and no process."""
        # What the reactor keeps open for itself from its first port on is no leak.
        await reactor.listenTCP(0, Factory(), interface="127.0.0.1").stopListening()
        before = open_descriptors()
        await self.serve_with(2, endpoints=[f"unix:{self.directory / 'echo'}"])
        pids: list[int] = []
        for _ in range(2):
            pids += await self.figure("pid")
            os.kill(pids[-1], signal.SIGKILL)
            await self.until(partial(self.all_but, pids[-1:]))
            await self.workers.suspend()
            await self.workers.resume()
        pids += await self.figure("pid")
        await self.system.stopService()
        await deferLater(reactor, 0.05, lambda: None)  # the sockets' last turn
        self.assertEqual(open_descriptors(), before)
        for pid in pids:
            self.assertFalse(Path(f"/proc/{pid}").exists())
        self.assertEqual((self.system.count_actors(), self.system.count_runnable()), (0, 0))

    async def test_given_up(self) -> None:
        """A worker that ends too often is given up; the others drain, and the system stops."""
        await self.serve_with(2)
        clients = await self.in_thread(self.open_clients)
        self.assertEqual(await self.echoing(clients), CLIENTS)
        lines = log_lines(self)
        pids: list[int] = []
        for _ in range(INTENSITY + 1):
            pids.append((await self.until(self.figures_of_first_but(pids)))["pid"])
            os.kill(pids[-1], signal.SIGKILL)
        self.assertEqual(
            await self.workers.given_up,
            f"worker 1 has ended more than {INTENSITY} times in 30 seconds",
        )
        self.assertIn("which ended with 'worker 1 was ended by signal 9'", "\n".join(lines))
        await self.system.stopService()
        self.assertEqual(await self.echoing(clients), 0)

    def figures_of_first_but(self, pids: list[int]) -> Callable[[], Coroutine[Any, Any, Any]]:
        async def look() -> Any:
            for one in await self.workers.figures():
                if one["worker"] == 1 and one["pid"] not in pids:
                    return one
            return None

        return look

    async def test_cannot_start(self) -> None:
        """What keeps a worker from starting at all is told at once, and nothing is tried again."""
        authority = Authority(self.directory)
        file = authority.make("x.pem", "a.example")
        options = ServerOptions(tls_port=0, interface="127.0.0.1", certificate=file)
        workers = Workers(self.system, options, 2)
        workers.setServiceParent(self.system)
        Path(file).write_text("garbage")  # as a file that the workers' user cannot read
        self.system.startService()
        self.addCleanup(self.system.stopService)
        self.assertEqual(await workers.given_up, f"certificate: {file!r}: holds no certificate")
        await self.system.stopService()

    async def test_no_python(self) -> None:
        """A process that cannot be started is told at once."""
        self.patch(sys, "executable", "/nowhere")
        workers = Workers(self.system, ServerOptions(port=0, interface="127.0.0.1"), 1)
        workers.setServiceParent(self.system)
        self.system.startService()
        self.addCleanup(self.system.stopService)
        self.assertEqual(
            await workers.given_up,
            "workers cannot be started: [Errno 2] No such file or directory: '/nowhere'",
        )


class SuspendTests(WorkersTestCase):
    async def test_suspend_and_resume(self) -> None:
        """Suspended, new clients are refused and others served on; resumed, all workers listen."""
        await self.serve_with(2)
        old = await self.in_thread(self.open_clients)
        self.assertEqual(await self.echoing(old), CLIENTS)
        await self.workers.suspend()
        self.assertEqual(self.workers.addresses, [])
        with self.assertRaises(ConnectionRefusedError):
            await self.in_thread(self.open_clients, 1)
        self.assertEqual(await self.echoing(old), CLIENTS)
        await self.workers.resume()
        [address] = self.workers.addresses
        self.port = address.port
        new = await self.in_thread(self.open_clients)
        self.assertEqual(await self.echoing(old + new), 2 * CLIENTS)
        self.assertEqual(sum(await self.figure("connections")), 2 * CLIENTS)

    async def test_restarted_while_suspended(self) -> None:
        """A worker that is restarted while all are suspended listens when they resume, and not before."""
        await self.serve_with(2)
        await self.workers.suspend()
        pids = await self.figure("pid")
        os.kill(pids[0], signal.SIGKILL)
        await self.until(lambda: self.all_but(pids[:1]))
        with self.assertRaises(ConnectionRefusedError):
            await self.in_thread(self.open_clients, 1)
        await self.workers.resume()
        self.port = self.workers.addresses[0].port
        clients = await self.in_thread(self.open_clients)
        self.assertEqual(await self.echoing(clients), CLIENTS)
        self.assertTrue(all(await self.figure("connections")))

    async def test_cannot_resume(self) -> None:
        """When the port is taken meanwhile, resuming fails, and all stay suspended; it can be tried again."""
        with socket.socket() as thief:
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            thief.bind(("127.0.0.1", 0))
            port = thief.getsockname()[1]
            await self.serve_with(2, port=port)
            await self.workers.suspend()
            thief.listen()
            with self.assertRaises(ListenError):
                self.workers.resume()
            pids = await self.figure("pid")
            os.kill(pids[0], signal.SIGKILL)
            await self.until(lambda: self.all_but(pids[:1]))
        await self.workers.resume()
        clients = await self.in_thread(self.open_clients)
        self.assertEqual(await self.echoing(clients), CLIENTS)

    async def test_suspended_from_the_start(self) -> None:
        """Suspended before they start, they listen nowhere until they resume."""
        options = ServerOptions(port=0, interface="127.0.0.1", shutdown_timeout=1)
        self.workers = Workers(self.system, options, 2)
        await self.workers.suspend()
        self.workers.setServiceParent(self.system)
        self.system.startService()
        self.addCleanup(self.system.stopService)
        await self.workers.ready
        self.assertEqual(self.workers.addresses, [])
        await self.workers.resume()
        self.port = self.workers.addresses[0].port
        clients = await self.in_thread(self.open_clients)
        self.assertEqual(await self.echoing(clients), CLIENTS)

    async def test_suspended_and_stopped(self) -> None:
        """Resuming and stopping in one breath harms nobody."""
        await self.serve_with(2)
        await self.workers.suspend()
        resumed = self.workers.resume()
        await self.system.stopService()
        await resumed
        await self.workers.resume()  # does nothing any more
        self.assertEqual(self.flushLoggedErrors(), [])


class RefusalTests(SynchronousTestCase):
    def test_too_many(self) -> None:
        """There are no more workers than connections to share."""
        with self.assertRaises(ValueError) as caught:
            Workers(ActorSystem(reactor), ServerOptions(port=0, max_connections=3), 4)
        self.assertEqual(str(caught.exception), "workers: 4 cannot share `max_connections` 3")

    def test_certificates(self) -> None:
        """A bad certificate is told before anything starts."""
        with self.assertRaises(CertificateError):
            Workers(ActorSystem(reactor), ServerOptions(tls_port=0, certificate="/nowhere.pem"), 2)

    def test_endpoints_with_tls(self) -> None:
        """An endpoint that does more than listen cannot be shared: its TLS would be lost."""
        temporary = TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        directory = temporary.name
        file = Authority(Path(directory)).make("x.pem", "a.example")
        for endpoint in (f"ssl:0:privateKey={file}:certKey={file}", f"tls:{directory}:0", "haproxy:tcp:0"):
            workers = Workers(ActorSystem(reactor), ServerOptions(endpoints=[endpoint]), 2)
            with self.assertRaises(ListenError) as caught:
                workers.privilegedStartService()
            self.flushWarnings()  # of what ssl: does with certificates
            self.assertIn("workers cannot share such an endpoint", str(caught.exception))
