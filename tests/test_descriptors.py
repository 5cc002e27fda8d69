"""Room for open files."""

from __future__ import annotations

import resource

from echoactor.descriptors import OTHERS, make_room_for

from .support import FileLimitsTestCase, log_lines


class DescriptorTests(FileLimitsTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.lines = log_lines(self, "echoactor.descriptors")

    def test_enough(self) -> None:
        """A limit that suffices stays as it is."""
        make_room_for(100 - OTHERS)
        self.assertEqual((self.limits, self.lines), ((100, 1000), []))
        self.limits = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        make_room_for(10**9)
        self.assertEqual((self.limits[0], self.lines), (resource.RLIM_INFINITY, []))

    def test_raised(self) -> None:
        """One that does not is raised as far as needed."""
        make_room_for(500)
        self.assertEqual((self.limits, self.lines), ((500 + OTHERS, 1000), []))
        self.limits = (100, resource.RLIM_INFINITY)
        make_room_for(5000)
        self.assertEqual((self.limits, self.lines), ((5000 + OTHERS, resource.RLIM_INFINITY), []))

    def test_not_enough(self) -> None:
        """Where the hard limit is in the way, it is reached, and one line says what to do."""
        make_room_for(5000)
        self.assertEqual(self.limits, (1000, 1000))
        [line] = self.lines
        self.assertIn("5000 connections need 5064 open files, and only 1000 are allowed", line)
        self.assertIn("lower max_connections to 936", line)

    def test_not_permitted(self) -> None:
        """Where the limit cannot be changed, the line says so, and nothing is raised."""

        def refuse(*_: object) -> None:
            raise ValueError("not permitted")

        self.patch(resource, "setrlimit", refuse)
        make_room_for(500)
        self.assertIn("only 100 are allowed", self.lines[0])
