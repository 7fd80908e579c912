"""Check the `Host` of operators' requests, against DNS rebinding (docs/design.md#operations)."""

import ipaddress
import re
from collections.abc import Iterable

_HOST = re.compile(r"\[([^\[\]]*)\](?::\d*)?|([^:\[\]]*)(?::\d*)?")
# Nobody's in the public DNS: RFC 6761; reserved by ICANN in 2024.
_PRIVATE_DOMAINS = (".localhost", ".internal")


class AllowedHosts:
    """Names from the settings (`.example` for all below `example`, `*` for any), and those that nobody can rebind.

    These are addresses, names without a dot (`localhost`, a service of compose), and names of private domains.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.set(names)

    def set(self, names: Iterable[str]) -> None:
        """Know these names from now on."""
        listed = [name.lower() for name in names]
        self._any = "*" in listed
        self._names = frozenset(listed)
        self._domains = (*_PRIVATE_DOMAINS, *(name for name in listed if name.startswith(".")))

    def allows(self, host: str) -> bool:
        """Return whether a request with this `Host` is answered."""
        found = _HOST.fullmatch(host.strip().lower())
        if self._any or found is None:
            return self._any
        name = (found[1] or found[2] or "").removesuffix(".")
        return "." not in name or name in self._names or name.endswith(self._domains) or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
