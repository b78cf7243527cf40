"""Which addresses a webhook may be sent to: public ones, and those that the operator names.

A URL is read strictly, its host is resolved once, every address it resolves to is judged, and the connection
goes to one of the addresses that were judged: what a name resolves to a moment later changes nothing.
Redirects are answers like any other, as the next address would not have been judged.
Sources: OWASP's cheat sheet on server-side request forgery, WHATWG URL §3.5 (hosts), the IANA registries of
special-purpose addresses.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias
from urllib.parse import urlsplit

__all__ = ["Allowed", "Target", "UnsafeUrl", "addresses_of", "is_public", "target_of"]

Address: TypeAlias = IPv4Address | IPv6Address
Lookup: TypeAlias = Callable[[str, int], Sequence[str]]

MAX_URL = 2048
PORTS = {"https": 443, "http": 80}
_HOST = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_-]{1,63}\Z")
_NUMERIC = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)\Z")
"""A last label like this makes the host an IPv4 address for browsers and for `inet_aton`."""
_INSIDE = ("localhost", "local", "internal", "intranet", "lan", "home", "corp", "private", "test", "invalid")
"""Last labels of names that mean something only inside a network, `metadata.google.internal` among them."""
_CARRIES_IPV4 = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
"""Networks in whose addresses the last 32 bits are the IPv4 address that is reached (RFC 4291, RFC 6052)."""
_NEVER = (
    IPv4Network("100.64.0.0/10"),  # RFC 6598, carriers' own
    IPv4Network("192.88.99.0/24"),  # RFC 7526, 6to4 relays
    IPv6Network("::/96"),  # RFC 4291, IPv4 in IPv6, deprecated
    IPv6Network("2002::/16"),  # RFC 7526, 6to4, deprecated
    IPv6Network("64:ff9b:1::/48"),  # RFC 8215, translated within a network
    IPv6Network("2001::/32"),  # RFC 4380, Teredo
    IPv6Network("fec0::/10"),  # RFC 3879, site-local
)


class UnsafeUrl(ValueError):
    """A URL that nothing is sent to. Its message is one sentence for a person, without the URL."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL in its parts."""

    scheme: str
    host: str
    """Lower case, without brackets."""
    port: int
    path: str
    """With the query."""

    @property
    def authority(self) -> str:
        """What goes into the `Host` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


class Allowed:
    """Hosts and networks of the operator's own that webhooks may reach, and without TLS.

    `entries`: names (`"hooks.example.internal"`), addresses (`"127.0.0.1"`) or networks (`"10.1.0.0/16"`).

    Raises: ValueError for what is none of these.
    """

    def __init__(self, entries: Iterable[str] = ()) -> None:
        self._names: set[str] = set()
        self._networks: list[IPv4Network | IPv6Network] = []
        for entry in entries:
            try:
                self._networks.append(ip_network(entry))
            except ValueError:
                name = entry.lower().rstrip(".")
                if not _HOST.match(name) or _NUMERIC.match(name.rpartition(".")[2]):
                    raise ValueError(f"{entry!r}: give a host, an address or a network") from None
                self._names.add(name)

    def names(self, host: str) -> bool:
        return host in self._names

    def covers(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def target_of(url: object, allowed: Allowed) -> Target:
    """The parts of a URL that may be sent to, as far as its text tells.

    Raises: UnsafeUrl.
    """
    if not isinstance(url, str) or not url.isascii() or not url.isprintable() or len(url) > MAX_URL:
        raise UnsafeUrl(f"give a URL of at most {MAX_URL} printable ASCII characters")
    if " " in url or "\\" in url:
        raise UnsafeUrl("a URL has no spaces and no backslashes")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise UnsafeUrl("this is no URL") from None
    if parts.scheme not in PORTS:
        raise UnsafeUrl("give a URL that begins with https://")
    if "@" in parts.netloc:
        raise UnsafeUrl("a URL must not carry a user or a password")
    host = _host(host, allowed)
    if port == 0:
        raise UnsafeUrl("there is no port 0")
    if parts.scheme == "http" and not _is_allowed(host, allowed):
        raise UnsafeUrl("use https://; http:// goes only to hosts that the operator allows")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, PORTS[parts.scheme] if port is None else port, path)


def _host(host: str, allowed: Allowed) -> str:
    address = _literal(host)
    if address is not None:
        if not (is_public(address) or allowed.covers(address)):
            raise UnsafeUrl("this address is not a public one")
        return str(address)
    host = host.rstrip(".")
    if not _HOST.match(host):
        raise UnsafeUrl("this is no name of a host")
    last = host.rpartition(".")[2]
    if _NUMERIC.match(last):
        raise UnsafeUrl("write an IPv4 address as four decimal numbers")
    if not allowed.names(host) and (last in _INSIDE or "." not in host):
        raise UnsafeUrl("this name is one inside a network")
    return host


def _literal(host: str) -> Address | None:
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise UnsafeUrl("an address must not name a network interface")
    return address


def _is_allowed(host: str, allowed: Allowed) -> bool:
    address = _literal(host)
    return allowed.names(host) if address is None else allowed.covers(address)


def is_public(address: Address) -> bool:
    """Whether an address is one of the public internet, and carries no other that is not."""
    if any(address in network for network in _CARRIES_IPV4):
        return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    return address.is_global and not address.is_multicast and not any(address in net for net in _NEVER)


def addresses_of(target: Target, allowed: Allowed, *, lookup: Lookup | None = None) -> list[str]:
    """The addresses to connect to, every one of them judged.

    Blocks while the name is looked up. `lookup(host, port)` gives addresses as text.

    Raises: UnsafeUrl where one of them may not be reached, or there is none.
    """
    try:
        found = list((lookup or _lookup)(target.host, target.port))
    except (OSError, UnicodeError):
        raise UnsafeUrl("the host's name is not known") from None
    if not found:
        raise UnsafeUrl("the host's name is not known")
    if not allowed.names(target.host):
        for text in found:
            address = ip_address(text.partition("%")[0])
            # One private address among public ones is how a name is rebound.
            if "%" in text or not (is_public(address) or allowed.covers(address)):
                raise UnsafeUrl("the host's name leads to an address that is not a public one")
    return list(dict.fromkeys(found))


def _lookup(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]
