"""`/v1/status`: the daemon's state as one JSON object, which the page at `/` and `mdcache status` show.

It contains no question and no secret, and of clients the configured names only.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from mdcache.cache.flights import Flights
from mdcache.cache.series_registry import SeriesRegistry
from mdcache.cache.stream_status import StreamsStatus
from mdcache.cache.symbols import SymbolTable
from mdcache.candles.persistence import SeriesFilter
from mdcache.clock import Clock
from mdcache.exchange.markets import Market
from mdcache.exchange.measured import ProfileNote
from mdcache.results import MEANINGS, RecentAnswers, shares, shares_by_step
from mdcache.serving.binance.ready_answers import ReadyAnswers
from mdcache.serving.client_limits import ClientLimits
from mdcache.serving.listener_status import ListenersStatus
from mdcache.serving.ops.activity import Activity
from mdcache.serving.ops.series_list import count_series, series_lines
from mdcache.serving.ops.shared_answers import SharedAnswers
from mdcache.serving.ports import Readiness
from mdcache.upstream.governor import Governor


@dataclass(frozen=True, slots=True)
class Upstreams:
    """What is read, by which address: base URLs by market, and those markets whose URL is not Binance's own."""

    egress: str
    urls: Mapping[str, str]
    not_binance: Sequence[str]


@dataclass(frozen=True, slots=True)
class ProfileStatus:
    """The exchange profile (docs/design.md#exchange-profile).

    `facts`: how many were measured; `notes`: those that are not as assumed, taken or not; `refused`: what of the file
    does not count.
    """

    path: str
    measured_at_ms: int
    mdcache: str
    hosts: Mapping[str, str]
    facts: int
    notes: tuple[ProfileNote, ...]
    refused: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SettingsStatus:
    """The settings in effect, without secrets.

    `loaded_ms`: when they were read, by this machine's clock; `refused`: the problems, if they were to be read again
    since and could not; `needs_restart`: those that are set otherwise by now.
    """

    values: Mapping[str, str]
    loaded_ms: int
    refused: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StatusSources:
    """The sources of the state.

    `activity` must be a sink of the daemon's events. `requests`, `last_minute`: clients' requests so far, and those of
    the last sixty seconds, by result; `answers`: more of the last minutes. `streams`: the markets that have some.
    `listeners`: those of every market. `disk`, `redis`: the state of these stores; empty if there is none. `profile`:
    what was taken of the exchange profile, if there is one. `limits`: of clients.
    """

    version: str
    clock: Clock
    governor: Governor
    registry: SeriesRegistry
    flights: Flights
    symbols: SymbolTable
    ready_answers: ReadyAnswers
    readiness: Callable[[], Readiness]
    settings: Callable[[], SettingsStatus]
    activity: Activity
    requests: Callable[[], Mapping[str, int]]
    last_minute: Callable[[], Mapping[str, int]]
    answers: Callable[[], RecentAnswers]
    upstreams: Upstreams
    streams: Callable[[], Sequence[StreamsStatus]] = tuple
    disk: Callable[[], Mapping[str, object]] = dict
    redis: Callable[[], Mapping[str, object]] = dict
    listeners: Callable[[], Sequence[ListenersStatus]] = tuple
    profile: Callable[[], ProfileStatus | None] = lambda: None
    limits: ClientLimits | None = None


class Status:
    """Builds the state, anew for each question, one at a time."""

    def __init__(self, sources: StatusSources) -> None:
        self._sources = sources
        self._began_s = sources.clock.now()
        self._shared = SharedAnswers()

    async def series(self, which: SeriesFilter) -> bytes:
        """Return the series that are kept and match, as JSON."""
        return await self._shared.answer(which, lambda: self._series(which))

    async def with_series(self) -> bytes:
        """Return the state with every series."""
        return await self._shared.answer("with series", self._with_series)

    async def json(self) -> bytes:
        """Return the state as JSON."""
        return await self._shared.answer("state", self._json)

    async def _series(self, which: SeriesFilter) -> bytes:
        clocks = self._sources.governor.clocks
        chosen = [series for series in self._sources.registry if which.matches(series.key)]
        listed = await series_lines(chosen, self._sources.clock, clocks.now)
        return msgspec.json.encode({"series": listed})

    async def _with_series(self) -> bytes:
        clocks = self._sources.governor.clocks
        return await self._json(await series_lines(self._sources.registry, self._sources.clock, clocks.now))

    async def _json(self, listed: list[msgspec.Raw] | None = None) -> bytes:
        sources = self._sources
        counts = await count_series(sources.registry, sources.clock, sources.governor.clocks.now)
        readiness, settings = sources.readiness(), sources.settings()
        memory = sources.registry.memory
        requests, last_minute, answers = sources.requests(), sources.last_minute(), sources.answers()
        return msgspec.json.encode(
            {
                "version": sources.version,
                "uptime_s": round(sources.clock.now() - self._began_s, 3),
                "ready": not readiness.reasons,
                "reasons": readiness.reasons,
                "degraded": readiness.degraded,
                "families": sources.governor.status(),
                "weights": sources.activity.weights(),
                "calls": sources.activity.calls(),
                "requests": requests,
                "requests_last_minute": last_minute,
                "shares": {
                    "last_minute": shares(last_minute),
                    "last_minutes": shares({result: sum(each) for result, each in answers.by_second.items()}),
                    "total": shares(requests),
                    "by_step": shares_by_step(answers.by_second),
                },
                "results": MEANINGS,
                "answers": answers,
                "upstreams": sources.upstreams,
                "spenders": sources.activity.spenders(),
                "closures": sources.activity.closures(),
                "events": sources.activity.notes(),
                "clocks": {market.value: self._clock(market) for market in Market},
                "symbols": {market.value: self._symbols(market) for market in Market},
                "series": msgspec.to_builtins(counts) | ({} if listed is None else {"list": listed}),
                "streams": sources.streams(),
                "listeners": sources.listeners(),
                "flights": len(sources.flights),
                "stores": {
                    "memory": {
                        "bytes": memory.held_bytes,
                        "max_bytes": memory.max_bytes,
                        "ready_answers": len(sources.ready_answers),
                    },
                    "disk": sources.disk(),
                    "redis": sources.redis(),
                },
                "profile": sources.profile(),
                "clients_refused": () if sources.limits is None else sources.limits.refused(),
                "settings": settings.values,
                "settings_loaded": {
                    "at_ms": settings.loaded_ms,
                    "refused": settings.refused,
                    "needs_restart": settings.needs_restart,
                },
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
        directory = self._sources.symbols
        age_s = directory.age_s(market)
        return {
            "count": len(directory.symbols(market).names),
            "age_s": None if math.isinf(age_s) else round(age_s, 3),
        }
