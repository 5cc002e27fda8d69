"""What is logged of events."""

from echoactor.events import ConnectionRefused
from echoactor.logs import log_refusal

from .support import ActorTestCase, log_lines


class RefusalLogTests(ActorTestCase):
    def test_refusal(self) -> None:
        """A refusal is a line, with the reason."""
        lines = log_lines(self, "echoactor.logs")
        self.system.events.subscribe(ConnectionRefused, log_refusal)
        self.system.events.emit(ConnectionRefused(None, "too many connections"))
        self.assertEqual(lines, ["connection from somebody refused: too many connections"])
