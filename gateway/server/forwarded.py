"""Who the client is: the peer of the socket, or what a listed proxy says in X-Forwarded-For."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class TrustedProxies:
    """The proxies of the settings. Without any, X-Forwarded-* is never read.

    Raises ValueError for an entry that is neither an address nor a network.
    """

    def __init__(self, entries: tuple[str, ...]) -> None:
        self._networks: tuple[Network, ...] = tuple(ipaddress.ip_network(entry) for entry in entries)
        # A proxy repeats the same few clients; parsing addresses costs more than the rest of a head.
        self.client = lru_cache(maxsize=4096)(self._client)

    def trusts(self, peer: tuple[str, int] | None) -> bool:
        """Whether this peer's headers are believed; asked once per connection."""
        if not self._networks or peer is None:
            return False
        address = _address(peer[0])
        return address is not None and self._listed(address)

    def _client(self, forwarded_for: bytes) -> str | None:
        """The client's address in an X-Forwarded-For from a trusted peer; None when it names none.

        Read from the right, where our own proxies write: the first address that is not one of them. What stands left
        of it is the client's own claim.
        """
        client: str | None = None
        for entry in reversed(forwarded_for.decode("latin-1").split(",")):
            address = _address(entry.strip())
            if address is None:
                return client
            client = str(address)
            if not self._listed(address):
                return client
        return client

    def _listed(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def _address(text: str) -> Address | None:
    """An address with or without a port; an IPv4 address inside IPv6 counts as IPv4."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
