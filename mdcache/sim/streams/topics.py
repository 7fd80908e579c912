"""Parse the names of topics, and find the series behind them (docs/binance.md#kline-streams).

Every name is acknowledged at Binance. One that is spelt in upper case, or names nothing, never has a frame.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mdcache.sim.config import Market, SymbolSpec
from mdcache.sim.listings import Listings
from mdcache.sim.played_facts import PlayedFacts
from mdcache.sim.prices.grid import FUTURES_INTERVALS, SPOT_INTERVALS
from mdcache.sim.prices.instruments import Instruments
from mdcache.sim.prices.price_history import HistoryKind
from mdcache.sim.prices.series import PrintedSeries

StreamKind = Literal["kline", "continuousKline", "indexPriceKline", "markPriceKline"]

_EAST_8_MS = 8 * 3_600_000  # the only offset there is: web-socket-streams.md
_NAME = re.compile(
    r"(?P<name>[^@]+)@(?P<kind>kline|continuousKline|indexPriceKline|markPriceKline)_(?P<interval>[0-9]+[smhdwM])"
    r"(?P<zone>@\+08:00)?"
)
_KINDS: Mapping[Market, frozenset[StreamKind]] = {
    "spot": frozenset({"kline"}),
    "usdm": frozenset({"kline", "continuousKline"}),
    "coinm": frozenset({"kline", "continuousKline", "indexPriceKline", "markPriceKline"}),
}
_HISTORIES: Mapping[StreamKind, HistoryKind] = {"indexPriceKline": "index", "markPriceKline": "mark"}


@dataclass(frozen=True, slots=True)
class KlineTopic:
    """A topic with candles. `name`: the part before the `@`, in lower case; `offset_ms`: its zone, east of UTC."""

    market: Market
    name: str
    kind: StreamKind
    interval: str
    offset_ms: int

    def matches(self, spec: SymbolSpec) -> bool:
        """Return whether the topic is about a symbol or contract."""
        match self.kind:
            case "continuousKline":
                return self.name == f"{spec.pair}_{spec.contract_type}".lower()
            case "indexPriceKline":
                return self.name == (spec.pair or "").lower()
            case _:
                return self.name == spec.symbol.lower()


def kline_topic(market: Market, text: str) -> KlineTopic | None:
    """Return the topic of that name at a market; `None` for all that never has a candle."""
    match = _NAME.fullmatch(text)
    if match is None:
        return None
    name, kind, interval, zone = match.group("name", "kind", "interval", "zone")
    known = SPOT_INTERVALS if market == "spot" or kind == "continuousKline" else FUTURES_INTERVALS
    if kind not in _KINDS[market] or interval not in known or name != name.lower() or (zone and market != "spot"):
        return None
    return KlineTopic(market, name, kind, interval, _EAST_8_MS if zone else 0)


@dataclass(frozen=True, slots=True)
class StreamedSeries:
    """The series that a topic prints, as it is listed at a moment."""

    spec: SymbolSpec
    rows: PrintedSeries


class SeriesDirectory:
    """Finds the series of topics, which differ once a symbol is listed, halted or listed again."""

    def __init__(self, instruments: Instruments, listings: Listings, facts: PlayedFacts) -> None:
        self._instruments = instruments
        self._facts = facts
        self._listings = listings

    def changes(self, at_ms: int) -> tuple[int, int]:
        """Return a value that is another one for moments between which the listings have changed."""
        return self._listings.changes(at_ms)

    def find(self, topic: KlineTopic, at_ms: int) -> StreamedSeries | None:
        """Return the topic's series at a moment: of the contract listed first, if there are several."""
        specs = [spec for spec in self._listings.visible(topic.market, at_ms) if topic.matches(spec)]
        if not specs:
            return None
        spec = min(specs, key=lambda one: one.listed_ms)
        kind = _HISTORIES.get(topic.kind, "trades")
        phase = self._facts.numbers(topic.market, "three_day_phases").get(spec.symbol)
        return StreamedSeries(spec, self._instruments.series(spec, kind, topic.interval, topic.offset_ms, phase))
