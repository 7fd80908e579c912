"""Parse a query, or refuse it as Binance does (docs/binance.md#query-rules)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from mdcache.sim.api.checks import Asked, first_refusal
from mdcache.sim.api.refusals import ApiRefusal
from mdcache.sim.api.routes import ApiRoute
from mdcache.sim.api.symbol_choice import name_of
from mdcache.sim.config import Market, SymbolSpec
from mdcache.sim.listings import Listings
from mdcache.sim.played_facts import PlayedFacts
from mdcache.sim.prices.grid import zone_ms

_COIN_NAME = re.compile(r"[^_]*USD(_.*)?")  # BTCUSD, BTCUSD_PERP


@dataclass(frozen=True, slots=True)
class Query:
    """A query that Binance would answer.

    `specs`: the symbols asked for. `single`: whether one was named by `symbol`. `name`: that symbol or the pair.
    `micros`: times are printed in microseconds (spot). `values` are the parameters as sent.
    """

    market: Market
    route: ApiRoute
    specs: tuple[SymbolSpec, ...]
    name: str
    single: bool
    limit: int
    start_ms: int | None
    end_ms: int | None
    offset_ms: int
    micros: bool
    values: Mapping[str, str]

    @property
    def endpoint(self) -> str:
        """The endpoint's name."""
        return self.route.endpoint

    def time(self, ms: int) -> int:
        """Return a moment in the unit asked for."""
        return ms * 1000 if self.micros else ms


def parse(query: str) -> list[tuple[str, str]]:
    """Return the parameters of a query string in order, including empty ones."""
    return parse_qsl(query, keep_blank_values=True, errors="replace")


def is_coin_name(values: Mapping[str, str]) -> bool:
    """Return whether a query on `/futures/data/` is coinm's, by the form of its pair or symbol."""
    name = values.get("pair") or values.get("symbol") or ""
    return _COIN_NAME.fullmatch(name.upper()) is not None


def read(
    route: ApiRoute, query: str, headers: Mapping[str, str], listings: Listings, at_ms: int, facts: PlayedFacts
) -> Query | ApiRefusal:
    """Parse a query as of a moment.

    Args:
        route: The path's.
        query: The raw query string.
        headers: Those of the request; `X-MBX-TIME-UNIT` and `Accept` count.
        listings: The symbols that are known.
        at_ms: The moment, in milliseconds since the Unix epoch.
        facts: What is played.

    Returns:
        What is asked for, or Binance's refusal.
    """
    sent = parse(query)
    market: Market = "coinm" if route.is_statistics and is_coin_name(dict(sent)) else route.market
    asked = Asked(market, route, sent, headers, listings, at_ms, facts)
    refusal = first_refusal(asked)
    if refusal is not None:
        return refusal
    spot, values = market == "spot", asked.values
    return Query(
        market,
        route,
        asked.specs,
        name=name_of(values, spot=spot),
        single="symbol" in values,
        limit=min(asked.limit, asked.takes.most),
        start_ms=asked.start_ms,
        end_ms=asked.end_ms,
        offset_ms=zone_ms(values.get("timeZone", "0")) or 0,
        micros=asked.micros,
        values=values,
    )
