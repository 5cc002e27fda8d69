"""A worker's share of the options, and the reactor that it gets."""

from __future__ import annotations

from twisted.internet import selectreactor
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from echoactor import ServerOptions
from echoactor.errors import ActorError
from echoactor.process import reactor_module, share_of


class OfAnotherModule(selectreactor.SelectReactor):
    """A reactor whose own module has no ``install``."""

    def __init__(self) -> None:
        pass


class ShareTests(SynchronousTestCase):
    def test_shares_come_to_the_whole(self) -> None:
        """The shares of a limit come to the limit, and differ by one at most."""
        for limit in (4, 10, 10_000, 10_001):
            for of in (1, 2, 3, 4):
                options = ServerOptions(port=1, max_connections=limit)
                shares = [share_of(options, number, of).max_connections for number in range(1, of + 1)]
                self.assertEqual(sum(shares), limit)
                self.assertLessEqual(max(shares) - min(shares), 1)

    def test_one_client(self) -> None:
        """The limit of one client is divided, too, and is one at least."""
        for limit, of, share in ((10, 2, 5), (10, 3, 3), (1, 4, 1)):
            options = ServerOptions(max_connections_per_address=limit)
            self.assertEqual(share_of(options, 1, of).max_connections_per_address, share)

    def test_all_else_is_the_same(self) -> None:
        """A single worker has all options as they were given."""
        options = ServerOptions(port=1, max_connections_per_address=7, deny=["10.0.0.0/8"])
        self.assertEqual(share_of(options, 1, 1), options)
        self.assertIsNone(share_of(ServerOptions(), 1, 2).max_connections_per_address)


class ReactorTests(SynchronousTestCase):
    def test_module(self) -> None:
        """The module that installs a reactor is that of its class, or of the class below which it stands."""
        self.assertEqual(reactor_module(OfAnotherModule()), "twisted.internet.selectreactor")
        with self.assertRaises(ActorError):
            reactor_module(Clock())
