"""What the exchange prints for a question at a moment: no weights, no faults, no log.

The control's offsets, late rows and revisions are part of the exchange's state and do count here.
"""

from collections.abc import Callable, Mapping

from mdcache.sim.api import exchange_info
from mdcache.sim.api.kline_query import KlineQuery, parse, read, time_unit
from mdcache.sim.api.market_data import MarketData
from mdcache.sim.api.refusals import ApiRefusal, unread
from mdcache.sim.api.routes import ApiRoute, Endpoint, KlineKind
from mdcache.sim.config import Market, SimConfig
from mdcache.sim.control.actions import Control, RowRevision
from mdcache.sim.listings import Listings
from mdcache.sim.prices.instruments import Instruments
from mdcache.sim.prices.printing import in_microseconds
from mdcache.sim.prices.recorded import RecordedSeries
from mdcache.sim.prices.series import AsOf

PLAIN: frozenset[Endpoint] = frozenset({"ping", "time", "exchangeInfo"})  # no market data
_BY_PAIR: frozenset[KlineKind] = frozenset({"continuousKlines", "indexPriceKlines"})


class Answers:
    """Answers to questions on known paths."""

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
        self._instruments = Instruments(config, listings)
        self._market_data = MarketData(self._instruments)

    def prepare(
        self, route: ApiRoute, path: str, query: str, headers: Mapping[str, str], at_ms: int
    ) -> ApiRefusal | Callable[[], bytes]:
        """The refusal of a question, or a way to compute its answer as of `at_ms`."""
        if route.kind is not None:
            question = read(route, route.kind, query, headers, lambda name: self._known(route, name, at_ms), at_ms)
            return question if isinstance(question, ApiRefusal) else lambda: self._rows(path, question, at_ms)
        if route.endpoint not in PLAIN:
            body = self._market_data.answer(route, query, headers, at_ms)
            return body if isinstance(body, ApiRefusal) else lambda: body
        shown = at_ms + self._control.time_offset_ms
        if route.market == "spot":
            micros = time_unit(headers)
            if isinstance(micros, ApiRefusal):
                return micros
            shown = shown * 1000 if micros else shown
            if route.endpoint != "exchangeInfo" and (sent := len(parse(query))):
                return unread(0, sent)
        match route.endpoint:
            case "ping":
                return lambda: b"{}"
            case "time":
                return lambda: b'{"serverTime":%d}' % shown
            case _:
                return self._info(route.market, query, at_ms, shown)

    def _info(self, market: Market, query: str, at_ms: int, shown: int) -> ApiRefusal | Callable[[], bytes]:
        specs = self._listings.visible(market, at_ms)
        if market == "spot":
            body = exchange_info.spot_info(self._config, specs, query, at_ms, shown)
            return body if isinstance(body, ApiRefusal) else lambda: body
        return lambda: exchange_info.futures_info(self._config, market, specs, at_ms, shown)

    def _known(self, route: ApiRoute, name: str, at_ms: int) -> bool:
        asks_pair = route.kind in _BY_PAIR
        return self._instruments.knows(route.market, name, at_ms, pair=asks_pair)

    def _rows(self, path: str, question: KlineQuery, at_ms: int) -> bytes:
        """The list of rows for a question."""
        files = None
        if question.market == "spot" and question.offset_ms == 0:
            files = self._recorded.get((question.name, question.interval))
        if files is not None:
            printed = files.rows(question.window, at_ms)
        else:
            series = self._instruments.series(question, at_ms)
            late_ms, short_ms = self._control.late(question.name)
            printed = [] if series is None else series.rows(question.window, AsOf(at_ms, late_ms, short_ms))
        revisions = self._control.revisions(path, question.name, question.interval)
        if revisions:
            printed = [_revised(row, revisions, at_ms) for row in printed]
        if question.micros:
            printed = [in_microseconds(row) for row in printed]
        return b"[" + b",".join(printed) + b"]"


def _revised(row: bytes, revisions: Mapping[int, RowRevision], at_ms: int) -> bytes:
    """A row as revised by that moment, or as it is."""
    revision = revisions.get(int(row[1 : row.index(b",")]))
    return row if revision is None or at_ms < revision.from_ms else revision.apply(row)
