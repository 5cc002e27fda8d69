"""An address is a value."""

import copy
import pickle

from echoactor import Address

from .support import ActorTestCase, Recorder


class AddressTests(ActorTestCase):
    def test_equal_by_value(self) -> None:
        """Two addresses of the same actor are equal and hash alike."""
        one = self.spawn(Recorder, [])
        same = Address(self.system, one.number)
        self.assertEqual((one, hash(one)), (same, hash(same)))

    def test_different_actors(self) -> None:
        """Addresses of different actors differ, and sort by age."""
        one, two = self.spawn(Recorder, []), self.spawn(Recorder, [])
        self.assertNotEqual(one, two)
        self.assertLess(one, two)
        self.assertEqual(sorted([two, one]), [one, two])

    def test_different_systems(self) -> None:
        """The same number in another system of the same name is another actor."""
        other = type(self.system)(self.clock, "test")
        self.assertNotEqual(self.spawn(Recorder, []), other.spawn(Recorder, []))

    def test_compares_with_addresses_only(self) -> None:
        """An address equals nothing else, and has no order with it."""
        address = self.spawn(Recorder, [])
        self.assertNotEqual(address, address.number)
        with self.assertRaises(TypeError):
            address < 3  # noqa: B015  # the comparison is the test

    def test_printable(self) -> None:
        """An address prints its system, the system's start number and its own number."""
        address = self.spawn(Recorder, [])
        self.assertEqual(repr(address), f"<test.{self.system.start_number}.{address.number}>")

    def test_deepcopy_is_itself(self) -> None:
        """A copied message still reaches the same actor."""
        address, received = self.recorder()
        copy.deepcopy({"to": address})["to"].send("hello")
        copy.copy(address).send("again")
        self.settle()
        self.assertEqual(received, ["hello", "again"])

    def test_pickle_is_refused(self) -> None:
        """Pickling says that an address means nothing elsewhere."""
        with self.assertRaisesRegex(TypeError, "cannot be pickled"):
            pickle.dumps(self.spawn(Recorder, []))

    def test_keeps_nothing_alive(self) -> None:
        """An address kept after the actor's death finds nobody."""
        address = self.spawn(Recorder, [])
        address.exit("shutdown")
        self.settle()
        self.assertFalse(self.system.is_alive(address))
