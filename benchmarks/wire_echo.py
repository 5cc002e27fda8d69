"""The peer: Twisted's own echo protocol, ``twisted.protocols.wire.Echo``, on the default reactor."""

import sys

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory
from twisted.protocols.wire import Echo

TCP4ServerEndpoint(reactor, int(sys.argv[1]), backlog=1024).listen(Factory.forProtocol(Echo))
reactor.run()
