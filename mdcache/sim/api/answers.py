"""Compute the answer to a query as of a moment, without weights, faults or log.

Clock offsets, late rows and revisions set by the control API are part of the exchange's state, and are applied here.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from mdcache.sim.api.checks import range_days
from mdcache.sim.api.exchange_info import exchange_info
from mdcache.sim.api.market_data import MarketData
from mdcache.sim.api.query import Query, read
from mdcache.sim.api.refusals import ApiRefusal
from mdcache.sim.api.routes import ROUTES, ApiRoute
from mdcache.sim.config import DAY_MS, SimConfig, SymbolSpec
from mdcache.sim.control.actions import Control, RowRevision
from mdcache.sim.listings import Listings
from mdcache.sim.played_facts import PlayedFacts
from mdcache.sim.prices.instruments import shared_instruments
from mdcache.sim.prices.price_history import HistoryKind
from mdcache.sim.prices.printing import in_microseconds
from mdcache.sim.prices.recorded import RecordedSeries
from mdcache.sim.prices.series import AsOf, PrintedSeries, RowWindow

_MOST_PAGES = 200
_SHORT_MS = 2_000  # how much a row lacks until its final state is shown
PLAIN: frozenset[str] = frozenset({"ping", "time", "exchangeInfo"})  # no market data
_KINDS: Mapping[str, HistoryKind] = {
    "indexPriceKlines": "index",
    "markPriceKlines": "mark",
    "premiumIndexKlines": "premium",
}


class Answers:
    """Answers to queries on known paths."""

    def __init__(
        self,
        config: SimConfig,
        control: Control,
        listings: Listings,
        recorded: Mapping[tuple[str, str], RecordedSeries],
    ) -> None:
        self._config = config
        self._control = control
        self._listings = listings
        self._recorded = recorded
        self._instruments = shared_instruments(config.seed, config.cached_splits, config.cached_rows)
        self._market_data = MarketData(self._instruments)

    def prepare(
        self, route: ApiRoute, path: str, query: str, headers: Mapping[str, str], at_ms: int
    ) -> ApiRefusal | Callable[[], bytes]:
        """Return the refusal of a query, or a way to compute its answer as of `at_ms`."""
        found = read(route, query, headers, self._listings, at_ms, self._config.facts)
        return found if isinstance(found, ApiRefusal) else lambda: self._answer(route, path, found, at_ms)

    def _answer(self, route: ApiRoute, path: str, query: Query, at_ms: int) -> bytes:
        if route.is_klines:
            return self._rows(path, query, at_ms)
        shown = query.time(at_ms + self._control.time_offset_ms)
        match query.endpoint:
            case "ping":
                return b"{}"
            case "time":
                return b'{"serverTime":%d}' % shown
            case "exchangeInfo":
                return exchange_info(self._config, query, at_ms, shown)
            case _:
                return self._market_data.answer(query, at_ms)

    def _rows(self, path: str, query: Query, at_ms: int) -> bytes:
        """Return the list of rows for a query."""
        facts = self._config.facts
        window, late = _window(query, at_ms, facts), self._control.late(query.name)
        lag_ms = facts.number(query.market, "final_row_lag_ms", 0)
        as_of = AsOf(at_ms, *(late if any(late) else (lag_ms, _SHORT_MS)))
        spec = min(query.specs, key=lambda one: one.listed_ms) if query.specs else None  # the pair has no such contract
        zoned = facts.flag("spot", "time_zone_moves_opens", usual=True)
        offset_ms = query.offset_ms if zoned else 0
        printed = self.printed(path, query.name, query.values["interval"], spec, window, as_of, offset_ms)
        if query.micros:
            close = facts.text("spot", "micros_close", "999999")[3:].encode()
            printed = [in_microseconds(row, close) for row in printed]
        return b"[" + b",".join(printed) + b"]"

    def printed(
        self, path: str, name: str, interval: str, spec: SymbolSpec | None, window: RowWindow, as_of: AsOf,
        offset_ms: int = 0,
    ) -> list[bytes]:  # fmt: skip
        """Return the rows of a kline path: the recorded ones, else those computed; revised as of that moment."""
        route, facts = ROUTES[path], self._config.facts
        files = self._recorded.get((name, interval))
        if files is not None and route.market == "spot" and offset_ms == 0:
            printed = files.rows(window, as_of.at_ms)
        elif spec is None:
            printed = []
        else:
            kind = _KINDS.get(route.endpoint, "trades")
            phase = facts.numbers(route.market, "three_day_phases").get(name)
            without = kind == "trades" and not facts.flag(route.market, "zero_trade_rows", usual=True)
            goes_on = not without and facts.text(route.market, "untraded_symbol_rows") == "go_on"
            series = self._instruments.series(spec, kind, interval, offset_ms, phase, goes_on=goes_on)
            printed = _with_trades(series, window, as_of) if without else series.rows(window, as_of)
        revisions = self._control.revisions(path, name, interval)
        return [_revised(row, revisions, as_of.at_ms) for row in printed] if revisions else printed


def _window(query: Query, at_ms: int, facts: PlayedFacts) -> RowWindow:
    """Return the rows that are asked for (docs/binance.md#time-bounds): coinm counts back from the window's end."""
    market, start_ms, end_ms = query.market, query.start_ms, query.end_ms
    usual = "newest" if market == "coinm" and query.endpoint != "premiumIndexKlines" else "oldest"
    if start_ms is None:
        kept = "newest" if end_ms is None else facts.text(market, "end_only_rows", "newest")
    else:
        kept = facts.text(market, "start_only_rows" if end_ms is None else "both_ends_rows", usual)
    if start_ms is not None and not facts.flag(market, "start_inclusive", usual=True):
        start_ms += 1
    if end_ms is not None and not facts.flag(market, "end_inclusive", usual=True):
        end_ms -= 1
    span_ms = range_days(facts, market, query.endpoint) * DAY_MS
    if span_ms and start_ms is None:
        end_ms = at_ms if end_ms is None else end_ms
        start_ms = end_ms - span_ms
    elif span_ms and start_ms is not None and end_ms is None:
        end_ms = min(start_ms + span_ms, at_ms)
    return RowWindow(start_ms, end_ms, query.limit, newest=kept == "newest")


def _with_trades(series: PrintedSeries, window: RowWindow, as_of: AsOf) -> list[bytes]:
    """Return the rows of a window in which something was traded, of a bounded number of pages."""
    found: list[bytes] = []
    for _ in range(_MOST_PAGES):
        page = series.rows(window, as_of)
        traded = [row for row in page if row.split(b",")[8] != b"0"]
        found = traded + found if window.newest else found + traded
        if len(page) < window.limit or len(found) >= window.limit:
            break
        first_ms, last_ms = (int(row[1 : row.index(b",")]) for row in (page[0], page[-1]))
        window = replace(window, end_ms=first_ms - 1) if window.newest else replace(window, start_ms=last_ms + 1)
    return found[-window.limit :] if window.newest else found[: window.limit]


def _revised(row: bytes, revisions: Mapping[int, RowRevision], at_ms: int) -> bytes:
    """Return a row as revised by that moment, or as it is."""
    revision = revisions.get(int(row[1 : row.index(b",")]))
    return row if revision is None or at_ms < revision.from_ms else revision.apply(row)
