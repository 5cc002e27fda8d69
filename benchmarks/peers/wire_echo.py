"""
The peer: Twisted's own echo protocol, ``twisted.protocols.wire.Echo``, on the default reactor or another one.

usage: wire_echo.py ENDPOINT [REACTOR], such as ssl:8443:privateKey=key.pem:certKey=cert.pem uvloop
"""

import sys
from typing import Any

from twisted.application.reactors import installReactor
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory
from twisted.protocols.wire import Echo

reactor: Any = installReactor(sys.argv[2] if len(sys.argv) > 2 else "default")
serverFromString(reactor, sys.argv[1]).listen(Factory.forProtocol(Echo))
reactor.run()
