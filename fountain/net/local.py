"""This machine's own addresses, for the line that tells people where to fetch from."""

from __future__ import annotations

import socket

__all__ = ["local_addresses"]

# Documentation addresses (RFC 5737, RFC 3849): connecting a UDP socket sends nothing, but chooses the local address
# that would be used to reach the rest of the world.
_PROBES = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


def local_addresses(bound: str = "") -> list[str]:
    """Addresses that other machines can use: `bound` alone where a server is bound to one, else what routes tell.

    Loopback comes last, and only when there is nothing else.
    """
    if bound and bound not in ("0.0.0.0", "::"):
        return [bound]
    found: list[str] = []
    for family, probe in _PROBES:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as opened:
                opened.connect((probe, 9))
                found.append(opened.getsockname()[0])
        except OSError:
            continue  # No route for this family.
    try:
        infos = socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_DGRAM)
        found += [str(info[4][0]) for info in infos]
    except OSError:
        pass  # A host name that does not resolve is common and harmless.
    outward = [address for address in dict.fromkeys(found) if not address.startswith(("127.", "::1", "fe80:"))]
    return outward or ["127.0.0.1"]
