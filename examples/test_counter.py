"""
How to test actors with pytest-twisted, on the real reactor.

Run it: ``pytest examples/test_counter.py``
"""

import pytest_twisted
from counter import Add, Counter, Get, counter
from twisted.internet import reactor

from echoactor import ActorSystem


@pytest_twisted.ensureDeferred
async def test_both_styles() -> None:
    """Both counters add up."""
    system = ActorSystem(reactor)
    for style in (Counter, counter):
        address = system.spawn(style)
        for amount in (1, 2, 3):
            address.send(Add(amount))
        assert await address.call(Get()) == 6
    await system.stopService()
