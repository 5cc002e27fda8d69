"""What is logged of events."""

from echoactor.events import ConnectionRefused
from echoactor.logs import log_refusals

from .support import ActorTestCase, log_lines


class RefusalLogTests(ActorTestCase):
    def test_refusal(self) -> None:
        """A refusal is a line, with the reason."""
        lines = log_lines(self, "echoactor.logs")
        log_refusals(self.system.events)
        self.system.events.emit(ConnectionRefused(None, "too many connections"))
        self.assertEqual(lines, ["connection from None refused: too many connections"])
