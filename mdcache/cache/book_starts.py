"""Since when clients follow order books by events: no older book may be given to them.

A client keeps a local book from REST's one and the changes after it, and needs one that is no older than its first
event (docs/binance.md#local-books). Directly, any is; here it may have been read before, for somebody else.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from mdcache.candles.freshness import FreshnessDirectives
from mdcache.clock import Clock
from mdcache.exchange.markets import Market
from mdcache.exchange.snapshots import SnapshotQuestion
from mdcache.exchange.topics import wire_name

_CHANGES = {  # docs/binance.md#stream-topics; the others are acknowledged, and never have an event
    Market.SPOT: re.compile(r"([^@!]+)@(depth)(@(100|1000)ms)?"),
    Market.USDM: re.compile(r"([^@!]+)@(depth|rpiDepth)(@(100|250|500)ms)?"),
    Market.COINM: re.compile(r"([^@!]+)@(depth)(@(100|250|500)ms)?"),
}
_FIRST_EVENT_WITHIN_S = 2.0  # a subscription upstream takes less; a quiet book may have no event for long
_LOOK_EVERY_S = 0.05


@dataclass(slots=True)
class _Start:
    """A topic's. `book`: the path of REST's; `ms`: when its newest listener began, in exchange time.

    `begun_s`: when it was subscribed to, by our clock.
    """

    book: str
    ms: int
    begun_s: float


class BookStarts:
    """The newest start of each book's listeners.

    Args:
        exchange_ms: Returns a market's exchange time in milliseconds.
        clock: Measures waits.
    """

    def __init__(self, exchange_ms: Callable[[Market], int], clock: Clock) -> None:
        self._exchange_ms = exchange_ms
        self._clock = clock
        self._starts: dict[tuple[Market, str], dict[str, _Start]] = {}  # by market and symbol, by topic
        self._awaited: set[tuple[Market, str]] = set()  # topics without an event since they were subscribed to

    def begin(self, market: Market, topic: str) -> None:
        """Count a listener to a topic from now on; of topics that are not a book's changes, nothing is kept."""
        match = _CHANGES[market].fullmatch(wire_name(topic))
        if match is None or match[1] != match[1].lower():
            return
        starts, now_ms = self._starts.setdefault((market, match[1]), {}), self._exchange_ms(market)
        if topic in starts:
            starts[topic].ms = now_ms
        else:
            starts[topic] = _Start(match[2], now_ms, self._clock.now())
            self._awaited.add((market, topic))

    def note(self, market: Market, topic: str) -> None:
        """Count the first event of a topic as the start of its listeners."""
        if (market, topic) in self._awaited:
            self._awaited.discard((market, topic))
            self._starts[market, topic.partition("@")[0]][topic].ms = self._exchange_ms(market)

    def end(self, market: Market, topic: str) -> None:
        """Forget a topic: nobody listens to it any more."""
        key = market, topic.partition("@")[0]
        starts = self._starts.get(key, {})
        if starts.pop(topic, None) is not None:
            self._awaited.discard((market, topic))
            if not starts:
                del self._starts[key]

    def least_ms(self, snapshot: SnapshotQuestion) -> int:
        """Return the least as-of of a book that all its listeners can use: now, while one awaits its first event.

        It is 0 for what is no book, or has no listeners.
        """
        return self._exchange_ms(snapshot.market) if self._is_awaited(snapshot) else self._newest_ms(snapshot)

    async def applied(self, snapshot: SnapshotQuestion, directives: FreshnessDirectives) -> FreshnessDirectives:
        """Wait for the first event of a book that is newly followed; return how fresh the book must be."""
        until_s = self._clock.now() + _FIRST_EVENT_WITHIN_S  # others may begin to listen all the time
        while self._is_awaited(snapshot) and self._clock.now() < until_s:
            await self._clock.sleep(_LOOK_EVERY_S)
        least_ms = self._newest_ms(snapshot)
        return replace(directives, min_as_of_ms=max(least_ms, directives.min_as_of_ms or 0)) if least_ms else directives

    def _newest_ms(self, snapshot: SnapshotQuestion) -> int:
        return max((start.ms for start in self._of(snapshot).values()), default=0)

    def _is_awaited(self, snapshot: SnapshotQuestion) -> bool:
        """Return whether a first event may come yet."""
        since_s = self._clock.now() - _FIRST_EVENT_WITHIN_S
        starts = self._of(snapshot).items()
        return any((snapshot.market, topic) in self._awaited and start.begun_s > since_s for topic, start in starts)

    def _of(self, snapshot: SnapshotQuestion) -> dict[str, _Start]:
        if not self._starts or not snapshot.symbols:
            return {}
        book = snapshot.endpoint.path.rpartition("/")[2]
        starts = self._starts.get((snapshot.market, snapshot.symbols[0].lower()), {})
        return {topic: start for topic, start in starts.items() if start.book == book}
