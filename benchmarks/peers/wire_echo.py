"""
The peer: Twisted's own echo protocol, ``twisted.protocols.wire.Echo``, on the default reactor.

usage: wire_echo.py ENDPOINT, such as tcp:8080 or ssl:8443:privateKey=key.pem:certKey=cert.pem
"""

import sys

from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory
from twisted.protocols.wire import Echo

serverFromString(reactor, sys.argv[1]).listen(Factory.forProtocol(Echo))
reactor.run()
