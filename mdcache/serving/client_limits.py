"""How often each client may ask: CLIENT_REQUESTS_PER_S (docs/design.md#client-limits).

A client is an address (for IPv6, its /64 network) with the configured name that it gives, if any. Its token bucket is
a single number: the moment at which its requests so far would have ended, had they kept to the rate.
"""

import ipaddress
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from mdcache.clock import Clock
from mdcache.daemon_events import ClientRefused
from mdcache.errors import ClientLimited
from mdcache.events import Events

BURST, BURST_S = 300, 10.0  # requests at once after a pause: the first, or what the rate allows in the second
MAX_CLIENTS = 10_000  # that are told apart; more addresses than these are a matter for a firewall
_MAX_REFUSED = 100  # clients whose refusals are counted for status
_SHOWN = 10
_NETWORK_BITS = 64

Identity = tuple[str, str]  # address or network, and name


@dataclass(slots=True)
class RefusedClient:
    """A client that asked too often: how many of its requests were refused, and when the last one was."""

    client: str
    address: str
    requests: int
    at_ms: int


class ClientLimits:
    """The limits of all clients. `on`: whether there are any; `per_s`: requests a second, 0 for no limit."""

    def __init__(self, per_s: float, clock: Clock, events: Events) -> None:
        self._clock = clock
        self._events = events
        self._due_s: OrderedDict[Identity, float] = OrderedDict()
        self._refused: OrderedDict[Identity, RefusedClient] = OrderedDict()
        self.set(per_s)

    def set(self, per_s: float) -> None:
        """Apply another rate from now on, and fill all buckets."""
        self.per_s, self.on = per_s, per_s > 0
        self._apart_s = 1 / per_s if self.on else 0.0
        self.burst = max(BURST, per_s * BURST_S)
        self._due_s.clear()

    def wait_s(self, address: str, client: str, requests: int = 1) -> float:
        """Take so many requests from a client's bucket, at most all that it can hold; return 0 if they were there.

        Otherwise take nothing, and return after how many seconds they will be there.
        """
        if not self.on:
            return 0.0
        identity, now_s = (_network(address), client), self._clock.now()
        due_s = max(self._due_s.get(identity, 0.0), now_s) + min(requests, self.burst) * self._apart_s
        late_s = due_s - now_s - self.burst * self._apart_s
        if late_s > _ROUNDING_S:
            return late_s
        self._due_s[identity] = due_s
        self._due_s.move_to_end(identity)
        if len(self._due_s) > MAX_CLIENTS:
            self._due_s.popitem(last=False)
        return 0.0

    def give_back(self, address: str, client: str) -> None:
        """Undo the last `wait_s`, which returned 0: the same request is looked at again."""
        identity = _network(address), client
        if identity in self._due_s:
            self._due_s[identity] -= self._apart_s

    def charge(self, address: str, client: str, requests: int = 1) -> None:
        """Take so many requests; raise `ClientLimited`, and count it, if they are not there."""
        if retry_after_s := self.wait_s(address, client, requests):
            self._count(address, client)
            raise ClientLimited(retry_after_s)

    def refused(self) -> Sequence[RefusedClient]:
        """Return the clients that were refused most often, of those that were refused last."""
        return sorted(self._refused.values(), key=lambda each: -each.requests)[:_SHOWN]

    def _count(self, address: str, client: str) -> None:
        identity = _network(address), client
        found = self._refused.setdefault(identity, RefusedClient(client, identity[0], 0, 0))
        found.requests += 1
        found.at_ms = self._clock.wall_ms()
        self._refused.move_to_end(identity)
        if len(self._refused) > _MAX_REFUSED:
            self._refused.popitem(last=False)
        self._events.emit(ClientRefused(client, identity[0]))


_ROUNDING_S = 1e-9


@lru_cache(MAX_CLIENTS)
def _network(address: str) -> str:
    """Return what identifies a client by its address: of IPv6 the network, in which it may choose addresses."""
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address)
    except ValueError:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(found), _NETWORK_BITS), strict=False))
