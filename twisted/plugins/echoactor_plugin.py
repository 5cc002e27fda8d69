"""Makes ``echoactor`` a command of twistd and twist."""

from twisted.application.service import ServiceMaker

# Never rename this variable: installed plugin caches know it by name.
serviceMaker = ServiceMaker(
    "echoactor",
    "echoactor.tap",
    "Echo server: each connection is an actor.",
    "echoactor",
)
