"""Parse the names of topics about trades, books, tickers and prices, and tell which route has a topic.

Sources: web-socket-streams.md of spot, the stream pages of fapi and dapi (docs/binance.md#stream-connections). Spot's
`!ticker@arr` ended on 2026-03-26.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mdcache.sim.config import Market
from mdcache.sim.played_facts import PlayedFacts

Subject = Literal["symbol", "pair", "all"]  # what a topic is about
_SECOND_MS, _TICK_MS = 1_000, 250
_NAME = re.compile(
    r"(?P<name>[^@!]+)@(?P<kind>[a-zA-Z]+(?:_[0-9]+[hd])?)(?P<levels>5|10|20)?(?:@(?P<speed>[0-9]+m?s))?"
)
_ALL = re.compile(r"!(?P<kind>[a-zA-Z]+(?:_[0-9]+[hd])?)(?P<array>@arr)?(?:@(?P<speed>[0-9]+m?s))?")
_PUBLIC = re.compile(r"!bookTicker|[^@!]+@(trade|bookTicker|(rpiD|d)epth[0-9]*)(@.*)?")  # measured 2026-08 and 09

# how often a kind is sent, by the speed that is named ("": none)
_TRADES = {"": _TICK_MS}  # as they happen: all that happens in a tick happens at its beginning
_SECONDS = {"": _SECOND_MS}
_MARKS = {"": 3 * _SECOND_MS, "1s": _SECOND_MS}
_FUTURES_DEPTH = {"": _TICK_MS, "500ms": 500, "100ms": 100}
_SPOT = {
    "trade": _TRADES, "aggTrade": _TRADES, "depth": {"": _SECOND_MS, "100ms": 100}, "bookTicker": _TRADES,
    "miniTicker": _SECONDS, "ticker": _SECONDS, "ticker_1h": _SECONDS, "ticker_4h": _SECONDS, "ticker_1d": _SECONDS,
    "avgPrice": _SECONDS,
}  # fmt: skip
_FUTURES = {
    "trade": _TRADES, "aggTrade": _TRADES, "depth": _FUTURES_DEPTH, "bookTicker": _TRADES, "markPrice": _MARKS,
    "forceOrder": _SECONDS,
}  # fmt: skip
_SPEEDS: Mapping[Market, Mapping[str, Mapping[str, int]]] = {
    "spot": _SPOT,
    "usdm": _FUTURES | {"miniTicker": {"": 2 * _SECOND_MS}, "ticker": {"": 2 * _SECOND_MS}},
    "coinm": _FUTURES | {"miniTicker": {"": 500}, "ticker": {"": 500}, "indexPrice": _MARKS},
}
_FUTURES_ALL = {"miniTicker": _SECONDS, "ticker": _SECONDS, "forceOrder": _SECONDS, "bookTicker": {"": 5 * _SECOND_MS}}
_ALL_SPEEDS: Mapping[Market, Mapping[str, Mapping[str, int]]] = {
    "spot": {"miniTicker": _SECONDS, "ticker_1h": _SECONDS, "ticker_4h": _SECONDS, "ticker_1d": _SECONDS},
    "usdm": _FUTURES_ALL | {"markPrice": _MARKS},
    "coinm": _FUTURES_ALL,
}


@dataclass(frozen=True, slots=True)
class MarketTopic:
    """A topic about a symbol, a pair or all symbols. `levels`: of a partial book; 0: of its changes."""

    market: Market
    subject: Subject
    name: str
    kind: str
    levels: int
    step_ms: int


def market_topic(market: Market, text: str) -> MarketTopic | None:
    """Return the topic of that name; nothing for names that are none, or spelt in upper case."""
    match = _ALL.fullmatch(text)
    if match is not None:
        step_ms = _ALL_SPEEDS[market].get(match["kind"], {}).get(match["speed"] or "")
        if step_ms is None or (match["array"] is None) != (match["kind"] == "bookTicker"):
            return None
        return MarketTopic(market, "all", "", match["kind"], 0, step_ms)
    match = _NAME.fullmatch(text)
    if match is None or match["name"] != match["name"].lower():
        return None
    kind, levels = match["kind"], int(match["levels"] or 0)
    step_ms = _SPEEDS[market].get(kind, {}).get(match["speed"] or "")
    if step_ms is None or (levels and kind != "depth"):
        return None
    about_pair = market == "coinm" and (kind == "indexPrice" or (kind == "markPrice" and "_" not in match["name"]))
    return MarketTopic(market, "pair" if about_pair else "symbol", match["name"], kind, levels, step_ms)


def on_route(market: Market, route: str | None, text: str, facts: PlayedFacts) -> bool:
    """Return whether a route has a topic: books and single trades are on `/public`, all else on `/market`.

    Without a route, USD-M has only the former, the other markets have everything, unless something else is played.
    """
    public = _PUBLIC.fullmatch(text) is not None
    match route:
        case "/public":
            return public
        case "/market":
            return not public and (market != "usdm" or facts.text(market, "stream_route", "market") == "market")
        case None:
            usual = "market" if market == "usdm" else "none"
            return public or facts.text(market, "stream_route", usual) == "none"
        case _:
            return False
