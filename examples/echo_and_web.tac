"""
The echo beside a web server, in one process: ``twistd -ny examples/echo_and_web.tac``

The page tells how many actors live. The ports can be chosen: ECHO_PORT and WEB_PORT.
"""

import os

from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import Application
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from echoactor import ActorSystem, EchoFactory, Server, ServerOptions

ECHO = int(os.environ.get("ECHO_PORT", "8080"))
WEB = f"tcp:{os.environ.get('WEB_PORT', '8081')}:interface=127.0.0.1"


class Page(Resource):
    """How many actors live."""

    isLeaf = True

    def __init__(self, system: ActorSystem) -> None:
        super().__init__()
        self.system = system

    def render_GET(self, request: Request) -> bytes:
        """Answer."""
        return b"%d connections are actors\n" % self.system.count_actors()


application = Application("echo and web")

system = ActorSystem(reactor)
Server(EchoFactory(system), ServerOptions(port=ECHO)).setServiceParent(system)
system.setServiceParent(application)

web = StreamServerEndpointService(serverFromString(reactor, WEB), Site(Page(system)))
web.setServiceParent(application)
