"""The public names."""

import inspect
import types

from twisted.trial.unittest import SynchronousTestCase

import echoactor


class NamesTests(SynchronousTestCase):
    def test_exported(self) -> None:
        """The package exports these names and no others."""
        self.assertEqual(
            echoactor.__all__,
            """
            Actor ActorError ActorFactory ActorProtocol ActorSystem Address BackOff Call ChildSpec
            CoroutineActor Crash Down DynamicSupervisor DynamicSupervisorSpec EchoFactory
            EchoProtocol EndOfInput Exit Groups MailboxBound Monitor Server ServerOptions Shutdown
            Supervisor SupervisorSpec Timeout
            """.split(),
        )
        names = {
            name
            for name, value in vars(echoactor).items()
            if not name.startswith("_") and not isinstance(value, types.ModuleType)
        }
        self.assertEqual(names, set(echoactor.__all__))

    def test_documented(self) -> None:
        """Everything public has a docstring."""
        for name in echoactor.__all__:
            thing = getattr(echoactor, name)
            self.assertTrue(thing.__doc__, name)
            for attribute, value in vars(thing).items():
                if not attribute.startswith("_") and callable(value):
                    # An override may leave the explaining to what it overrides.
                    self.assertTrue(inspect.getdoc(getattr(thing, attribute)), f"{name}.{attribute}")
