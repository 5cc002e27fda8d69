"""Internet addresses of peers, and lists of networks that they are looked up in."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from twisted.internet.interfaces import IAddress

__all__ = ["Host", "Network", "Networks", "host_of", "host_of_text"]

Host = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

WRITTEN = "one is written like 192.0.2.0/24, 2001:db8::/32 or 192.0.2.7"


def host_of(peer: IAddress | None) -> Host | None:
    """
    Where a peer is.

    An IPv4 client of a socket that takes both comes as ``::ffff:192.0.2.1``. It is the same
    client, and no list may miss it under its other name.

    :returns: None for a peer that is on no network, such as that of a UNIX socket.
    """
    host = getattr(peer, "host", None)
    return None if host is None else host_of_text(host)


@lru_cache(1024)  # a client that comes back, and a connection that ends, are looked up again
def host_of_text(host: str) -> Host:
    """The same for the text of an address."""
    address = ip_address(host.partition("%")[0])  # fe80::1%eth0: the zone says by which way it came
    return getattr(address, "ipv4_mapped", None) or address


class Networks(tuple[Network, ...]):
    """
    Networks, immutable.

    :param networks: each a text like ``192.0.2.0/24``, ``2001:db8::/32`` or a single address.
    :raises ValueError: one of them is no network; the text names it.
    """

    __slots__ = ()

    def __new__(cls, networks: Iterable[str | Network] = ()) -> Networks:
        if isinstance(networks, str):
            raise ValueError(
                f"{networks!r} is a text where a list of networks is wanted, such as [{networks!r}]"
            )
        return super().__new__(cls, map(_network, networks))

    def covers(self, host: Host) -> bool:
        """Whether ``host`` is in one of them."""
        return any(host in network for network in self)


def _network(network: str | Network) -> Network:
    if not isinstance(network, (str, IPv4Network, IPv6Network)):
        raise ValueError(f"{network!r} is no network; {WRITTEN}")
    try:
        parsed = ip_network(network)
    except ValueError:
        raise ValueError(_why_not(network)) from None
    if isinstance(parsed, IPv6Network) and parsed.prefixlen >= 96:
        # Peers' addresses are compared in their IPv4 form; see host_of.
        mapped = parsed.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, parsed.prefixlen - 96))
    return parsed


def _why_not(network: str | Network) -> str:
    try:
        meant = ip_network(network, strict=False)
    except ValueError:
        return f"{network!r} is no network; {WRITTEN}"
    return f"{network!r} has bits set after its prefix; did you mean {meant}?"
