"""Check the header of a request before it is handled: its size, and that others can't read it differently. Pure."""

import re
from collections.abc import Sequence

_AUTHORITY = re.compile(rb"[^:/]*://([^/?#]*)")


def header_size(target: bytes, headers: Sequence[tuple[bytes, bytes]]) -> int:
    """Return about how many bytes a header has."""
    return len(target) + sum(len(name) + len(value) + len(b": \r\n") for name, value in headers)


def ambiguity(target: bytes, headers: Sequence[tuple[bytes, bytes]], version: str) -> tuple[int, str] | None:
    """Return the refusal of a header that others may read differently than this server (RFC 9112, 3.2 and 6.1)."""
    hosts: list[bytes] = []
    for name, value in headers:
        if name == b"host":
            hosts.append(value.strip())
        elif name == b"transfer-encoding" and value.strip().lower() != b"chunked":
            return 400, "The only transfer coding that is known here is chunked."
    if not _names_one_host(target, hosts, version):
        return 400, "The request must have exactly one Host header."
    return None


def _names_one_host(target: bytes, hosts: Sequence[bytes], version: str) -> bool:
    """Return whether there is one `Host`, or none in HTTP/1.0: proxies might route by another.

    A list is what a proxy makes of two headers. A target may name the same host.
    """
    if len(hosts) != 1:
        return not hosts and version == "1.0"
    if not target.startswith(b"/") and (named := _AUTHORITY.match(target)) is not None:
        return named[1].lower() == hosts[0].lower()
    return b"," not in hosts[0] and len(hosts[0].split()) <= 1
