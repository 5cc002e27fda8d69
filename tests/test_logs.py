"""What is logged of connections."""

from echoactor.events import ConnectionRefused
from echoactor.logs import log_connections

from .support import ActorTestCase, log_lines


class ConnectionLogTests(ActorTestCase):
    def test_refusal(self) -> None:
        """A refusal is a line, with the reason."""
        lines = log_lines(self, "echoactor.logs")
        log_connections(self.system.events)
        self.system.events.emit(ConnectionRefused(None, "too many connections"))
        self.assertEqual(lines, ["connection from None refused: too many connections"])
