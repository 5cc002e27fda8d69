"""The echo is the article's, and the shortest file."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, strategies as st
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

import echoactor
from echoactor import ActorSystem, EchoFactory, EchoProtocol, EndOfInput


class EchoTests(SynchronousTestCase):
    @given(st.lists(st.binary()))
    def test_sends_back(self, pieces: list[bytes]) -> None:
        """Whatever pieces come, their bytes go back, in order."""
        protocol = EchoFactory(ActorSystem(Clock())).buildProtocol(None)
        assert isinstance(protocol, EchoProtocol)
        wire = StringTransport()
        protocol.makeConnection(wire)
        for piece in pieces:
            protocol.dataReceived(piece)
        self.assertEqual(wire.value(), b"".join(pieces))

    def test_ignores_other_messages(self) -> None:
        """What other actors send is not echoed."""
        clock = Clock()
        system = ActorSystem(clock)
        protocol = EchoFactory(system).buildProtocol(None)
        assert isinstance(protocol, EchoProtocol)
        wire = StringTransport()
        protocol.makeConnection(wire)
        for message in ("text", EndOfInput(), b"forged", 5):
            protocol.address.send(message)
        clock.advance(0)
        self.assertEqual(wire.value(), b"")
        self.assertTrue(system.is_alive(protocol.address))

    def test_shortest_file(self) -> None:
        """No module that does anything is shorter than the echo."""
        package = Path(echoactor.__file__).parent
        lengths = {file.name: len(file.read_text().splitlines()) for file in package.glob("*.py")}
        self.assertEqual(min(lengths, key=lengths.__getitem__), "echo.py")
