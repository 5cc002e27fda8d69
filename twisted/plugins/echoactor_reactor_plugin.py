"""
``--reactor=uvloop``, for twistd, twist and trial.

A file of its own: whoever lists the reactors imports no command, and the other way round.
"""

from twisted.application.reactors import Reactor


class _UvloopReactor(Reactor):
    def install(self) -> None:
        """Install the reactor, or end with one line that says what it needs."""
        try:
            super().install()
        except ImportError as error:
            if error.name != "uvloop":
                raise
            raise SystemExit(
                "--reactor=uvloop needs the package uvloop: pip install 'echoactor[uvloop]'"
            ) from None


uvloop = _UvloopReactor("uvloop", "echoactor.uvloopreactor", "uvloop's event loop and its own TCP transports")
