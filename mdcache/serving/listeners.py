"""Listeners: clients that are sent what changes, by WebSocket, event or answer; bounded, counted, drained."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

from mdcache.clock import SystemClock
from mdcache.events import Events
from mdcache.exchange.markets import Market
from mdcache.serving.client_limits import ClientLimits

_DRAINED_BY = 0.8  # of the grace: what is left is for the last bytes, and for other requests


class ListenerKind(StrEnum):
    """How a listener is sent what changes: a metrics label."""

    WEBSOCKET = "websocket"
    EVENTS = "events"
    WAIT = "wait"


class ListenerEnd(StrEnum):
    """Why a listener was refused, or closed by what serves it: a metrics label."""

    NO_ROOM = "no_room"
    ORIGIN = "origin"
    ACCOUNT = "account"
    UNAVAILABLE = "unavailable"
    LIMITED = "limited"
    MESSAGES = "messages"
    TOPICS = "topics"
    PROTOCOL = "protocol"
    NO_PONG = "no_pong"
    UNREAD = "unread"


class Drainable(Protocol):
    """A listener, as far as a shutdown needs it."""

    def drain(self) -> None:
        """End soon, in an orderly way: the daemon stops. Called again, it does nothing."""


class Listeners:
    """All listeners of the daemon.

    `most`: how many there may be at once. `limits`: how often a client may ask, connect or send a message; without
    them, as often as it likes.
    """

    def __init__(self, most: int, limits: ClientLimits | None = None) -> None:
        self.most = most
        self.limits = limits or ClientLimits(0.0, SystemClock(), Events())
        self._held: dict[Drainable, tuple[Market, ListenerKind]] = {}
        self._ends: Counter[tuple[Market, ListenerEnd]] = Counter()
        self._draining = False

    def __len__(self) -> int:
        return len(self._held)

    def refusal(self) -> str | None:
        """Return why no other listener is admitted now, as a sentence; `None` if one is."""
        if self._draining:
            return "mdcache is shutting down: connect again in a moment."
        if len(self._held) >= self.most:
            return f"{self.most} clients listen already, which is the most (MDCACHE_LISTENERS_MAX)."
        return None

    def add(self, listener: Drainable, market: Market, kind: ListenerKind) -> None:
        """Count a listener that `refusal` admits."""
        self._held[listener] = market, kind

    def remove(self, listener: Drainable) -> None:
        """Count it no more; repeated calls are allowed."""
        self._held.pop(listener, None)

    def counts(self) -> Mapping[tuple[Market, ListenerKind], int]:
        """Return how many listen, by market and kind, zeros included."""
        found = Counter(self._held.values())
        return {(market, kind): found[market, kind] for market in Market for kind in ListenerKind}

    def count_end(self, market: Market, end: ListenerEnd) -> None:
        """Count a listener that was refused or closed."""
        self._ends[market, end] += 1

    def ends(self, market: Market) -> Mapping[str, int]:
        """Return how many were, by reason, zeros included."""
        return {end.value: self._ends[market, end] for end in ListenerEnd}

    def drain(self, grace_s: float) -> None:
        """Admit none any more, and end all, spread over the grace: they don't all connect elsewhere in one moment."""
        self._draining = True
        loop, every_s = asyncio.get_running_loop(), grace_s * _DRAINED_BY / max(1, len(self._held))
        for place, listener in enumerate(self._held):
            loop.call_later(place * every_s, listener.drain)
