"""What comes from outside, in words."""

from __future__ import annotations

from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from echoactor.text import peer_in_words, printable


class TextTests(SynchronousTestCase):
    def test_printable(self) -> None:
        """What is not printable is escaped, as Python does it, but for what is to be kept."""
        self.assertEqual(printable("a\x1b[2J\n\u202e\xe9"), r"a\x1b[2J\n\u202e" + "\xe9")
        self.assertEqual(printable("a\x00\n", "\n"), r"a\x00" + "\n")

    def test_peers(self) -> None:
        """Peers are written as people write them."""
        for peer, text in (
            (IPv4Address("TCP", "192.0.2.1", 80), "192.0.2.1:80"),
            (IPv6Address("TCP", "2001:db8::1", 80), "[2001:db8::1]:80"),
            (UNIXAddress(b"/run/\x1b\xff"), r"unix:/run/\x1b\udcff"),
            (UNIXAddress(None), "unix"),
            (HostnameAddress(b"example.com", 80), "HostnameAddress(hostname=b'example.com', port=80)"),
            (None, "somebody"),
        ):
            self.assertEqual(peer_in_words(peer), text)
