"""`/v1/status`: the daemon's state as one JSON object, which the page at `/` and `mdcache status` show.

It names no client, no question and no secret.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from mdcache.cache.directory import Directory
from mdcache.cache.flights import Flights
from mdcache.cache.library import Library
from mdcache.clock import Clock
from mdcache.exchange.markets import Market
from mdcache.serving.history import History
from mdcache.serving.listed import Line, lines
from mdcache.serving.ports import Readiness
from mdcache.serving.ready import Readies
from mdcache.upstream.governor import Governor


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the state is read from. `settings` must already be fit to be shown to anybody.

    `history` must be a sink of the daemon's events. `requests`: clients' requests so far, by result.
    `disk`, `redis`: what these stores say of themselves; nothing where there is none.
    """

    version: str
    clock: Clock
    governor: Governor
    library: Library
    flights: Flights
    directory: Directory
    readies: Readies
    readiness: Callable[[], Readiness]
    settings: Mapping[str, str]
    history: History
    requests: Callable[[], Mapping[str, int]]
    disk: Callable[[], Mapping[str, object]] = dict
    redis: Callable[[], Mapping[str, object]] = dict


class Status:
    """The state, read anew each time it is asked for."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._began_s = sources.clock.now()

    async def listing(self) -> bytes:
        """The state, and every series in it."""
        clocks = self._sources.governor.clocks
        return self.json(await lines(self._sources.library, self._sources.clock, clocks.now))

    def json(self, listed: list[Line] | None = None) -> bytes:
        """The state; with `listed` the series, too."""
        sources = self._sources
        readiness = sources.readiness()
        memory = sources.library.memory
        return msgspec.json.encode(
            {
                "version": sources.version,
                "uptime_s": round(sources.clock.now() - self._began_s, 3),
                "ready": not readiness.reasons,
                "reasons": readiness.reasons,
                "degraded": readiness.degraded,
                "families": sources.governor.status(),
                "weights": sources.history.weights(),
                "calls": sources.history.calls(),
                "requests": sources.requests(),
                "events": sources.history.notes(),
                "clocks": {market.value: self._clock(market) for market in Market},
                "symbols": {market.value: self._symbols(market) for market in Market},
                "series": {
                    "count": len(sources.library),
                    "rows": sources.library.rows,
                    "voids": voids(sources.library),
                    **({} if listed is None else {"list": listed}),
                },
                "flights": len(sources.flights),
                "stores": {
                    "memory": {
                        "bytes": memory.held_bytes,
                        "max_bytes": memory.max_bytes,
                        "ready_answers": len(sources.readies),
                    },
                    "disk": sources.disk(),
                    "redis": sources.redis(),
                },
                "settings": sources.settings,
            }
        )

    def _clock(self, market: Market) -> dict[str, float | bool | None]:
        clocks = self._sources.governor.clocks
        offset_ms = clocks.offset_ms(market)
        return {
            "measured": clocks.measured(market),
            "doubted": clocks.doubted(market),
            "offset_ms": None if offset_ms is None else round(offset_ms, 3),
            "error_ms": clocks.now(market).error_ms,
            "now_ms": clocks.now(market).ms,
        }

    def _symbols(self, market: Market) -> dict[str, float | int | None]:
        directory = self._sources.directory
        age_s = directory.age_s(market)
        return {
            "count": len(directory.symbols(market).names),
            "age_s": None if math.isinf(age_s) else round(age_s, 3),
        }


def voids(library: Library) -> dict[str, int]:
    """By market: spans without a row that may still fill and are checked now and then, young holes among them."""
    counts = {market.value: 0 for market in Market}
    for series in library:
        counts[series.key.market.value] += len(series.voids)
    return counts
