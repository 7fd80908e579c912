"""Compute the answer to a query as of a moment, without weights, faults or log.

Clock offsets, late rows and revisions set by the control API are part of the exchange's state, and are applied here.
"""

from collections.abc import Callable, Mapping

from mdcache.sim.api.exchange_info import exchange_info
from mdcache.sim.api.market_data import MarketData
from mdcache.sim.api.query import COINM_SPAN_MS, Query, read
from mdcache.sim.api.refusals import ApiRefusal
from mdcache.sim.api.routes import ApiRoute
from mdcache.sim.config import SimConfig
from mdcache.sim.control.actions import Control, RowRevision
from mdcache.sim.listings import Listings
from mdcache.sim.prices.instruments import shared_instruments
from mdcache.sim.prices.price_history import HistoryKind
from mdcache.sim.prices.printing import in_microseconds
from mdcache.sim.prices.recorded import RecordedSeries
from mdcache.sim.prices.series import AsOf, RowWindow

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
        found = read(route, query, headers, self._listings, at_ms)
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
        interval, window = query.values["interval"], _window(query, at_ms)
        files = self._recorded.get((query.name, interval))
        if files is not None and query.market == "spot" and query.offset_ms == 0:
            printed = files.rows(window, at_ms)
        elif query.specs:
            spec = min(query.specs, key=lambda one: one.listed_ms)
            kind = _KINDS.get(query.endpoint, "trades")
            series = self._instruments.series(spec, kind, interval, query.offset_ms)
            printed = series.rows(window, AsOf(at_ms, *self._control.late(query.name)))
        else:  # the pair has no such contract
            printed = []
        revisions = self._control.revisions(path, query.name, interval)
        if revisions:
            printed = [_revised(row, revisions, at_ms) for row in printed]
        if query.micros:
            printed = [in_microseconds(row) for row in printed]
        return b"[" + b",".join(printed) + b"]"


def _window(query: Query, at_ms: int) -> RowWindow:
    """Return the rows that are asked for (docs/binance.md#time-bounds): coinm counts back from the window's end."""
    start_ms, end_ms = query.start_ms, query.end_ms
    if query.market != "coinm" or query.endpoint == "premiumIndexKlines":
        return RowWindow(start_ms, end_ms, query.limit, newest=start_ms is None)
    if start_ms is None:
        end_ms = at_ms if end_ms is None else end_ms
        start_ms = end_ms - COINM_SPAN_MS
    elif end_ms is None:
        end_ms = min(start_ms + COINM_SPAN_MS, at_ms)
    return RowWindow(start_ms, end_ms, query.limit, newest=True)


def _revised(row: bytes, revisions: Mapping[int, RowRevision], at_ms: int) -> bytes:
    """Return a row as revised by that moment, or as it is."""
    revision = revisions.get(int(row[1 : row.index(b",")]))
    return row if revision is None or at_ms < revision.from_ms else revision.apply(row)
