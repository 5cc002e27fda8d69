"""Where peers are, and which networks they are in."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_address
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from echoactor.networks import Networks, host_of


class HostTests(SynchronousTestCase):
    def test_host(self) -> None:
        """A peer's host is an address; that of an IPv4 client is the same on every kind of socket."""
        self.assertEqual(host_of(IPv4Address("TCP", "192.0.2.1", 1)), ip_address("192.0.2.1"))
        self.assertEqual(host_of(IPv6Address("TCP", "::ffff:192.0.2.1", 1)), ip_address("192.0.2.1"))
        self.assertEqual(host_of(IPv6Address("TCP", "2001:db8::1", 1)), ip_address("2001:db8::1"))
        self.assertEqual(host_of(IPv6Address("TCP", "fe80::1%eth0", 1)), ip_address("fe80::1"))

    def test_no_host(self) -> None:
        """The peer of a UNIX socket is nowhere, and neither is one that is not known."""
        self.assertIsNone(host_of(UNIXAddress(b"/run/echo")))
        self.assertIsNone(host_of(None))


class NetworksTests(SynchronousTestCase):
    def test_covers(self) -> None:
        """Hosts are in networks by their bits; a single address is a network of one."""
        networks = Networks(["192.0.2.0/24", "2001:db8::/32", "198.51.100.7"])
        for host, inside in (
            ("192.0.2.255", True),
            ("192.0.3.0", False),
            ("2001:db8:ffff::1", True),
            ("2001:db9::1", False),
            ("198.51.100.7", True),
            ("198.51.100.8", False),
        ):
            self.assertEqual(networks.covers(ip_address(host)), inside, host)
        self.assertFalse(Networks().covers(ip_address("192.0.2.1")))

    def test_everything(self) -> None:
        """0.0.0.0/0 covers all of IPv4 and nothing of IPv6."""
        networks = Networks(["0.0.0.0/0"])
        self.assertTrue(networks.covers(ip_address("203.0.113.1")))
        self.assertFalse(networks.covers(ip_address("::1")))

    def test_mapped(self) -> None:
        """An IPv4 network in its IPv6 form is the IPv4 network, as hosts are compared in that form."""
        self.assertEqual(Networks(["::ffff:192.0.2.0/120"]), (IPv4Network("192.0.2.0/24"),))
        self.assertTrue(Networks(["::/0"]).covers(ip_address("::1")))

    def test_wrong(self) -> None:
        """What is no network is refused, with the value and what would be right."""
        wrong: list[tuple[Any, str]] = [
            (["192.0.2.1/24"], "'192.0.2.1/24' has bits set after its prefix; did you mean 192.0.2.0/24?"),
            (["localhost"], "'localhost' is no network; one is written like 192.0.2.0/24"),
            ([""], "'' is no network"),
            (["1.2.3"], "'1.2.3' is no network"),
            ([7], "7 is no network"),
            ("192.0.2.1", "a list of networks is wanted"),
        ]
        for networks, words in wrong:
            with self.assertRaises(ValueError) as caught:
                Networks(networks)
            self.assertIn(words, str(caught.exception))
