"""Candles of one second on futures: kept for an hour from the frames of those who listen (docs/design.md#native).

REST has none there; the stream `<pair>_perpetual@continuousKline_1s` does (docs/binance.md#stream-topics).
"""

from collections import OrderedDict
from dataclasses import replace

from mdcache.candles.persistence import SeriesFilter
from mdcache.errors import InvalidBody
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import Market
from mdcache.exchange.rows import Row
from mdcache.exchange.streams import read_frame, series_of

SECONDS = 3_600  # of each contract
CONTRACTS = 32  # with 0.3 KB a second, 35 MB at most
_ENDING = "_perpetual@continuousKline_1s"
_SECOND_MS = 1_000


class KeptSeconds:
    """The newest seconds of the contracts that somebody listens to or did, those listened to last."""

    def __init__(self) -> None:
        self._contracts: OrderedDict[SeriesKey, OrderedDict[int, Row]] = OrderedDict()

    def note(self, market: Market, topic: str, data: bytes) -> None:
        """Keep what a frame says, if it is the last one of a second of a perpetual contract, and passes every check."""
        key = series_of(market, topic) if topic.endswith(_ENDING) else None
        if key is None:
            return
        try:
            frame = read_frame(data, key)
        except InvalidBody:
            return  # it is relayed as it is, and says nothing that could be kept
        if not frame.final:
            return
        kept = self._contracts.setdefault(key, OrderedDict())
        self._contracts.move_to_end(key)
        kept[frame.row.open_ms] = frame.row
        if len(kept) > SECONDS:
            kept.popitem(last=False)
        if len(self._contracts) > CONTRACTS:
            self._contracts.popitem(last=False)

    async def clear(self, series_filter: SeriesFilter) -> None:
        """Forget the matching contracts, which a filter names by their pair or by their symbol."""
        for key in list(self._contracts):
            named = replace(key, subject=f"{key.subject}_PERP") if key.market is Market.COINM else key
            if series_filter.matches(key) or series_filter.matches(named):
                del self._contracts[key]

    def find(self, market: Market, symbol: str, at_ms: int) -> Row | None:
        """Return the row of the second that shows the symbol's price at a moment, in milliseconds, if it is kept."""
        pair = symbol.removesuffix("_PERP") if market is Market.COINM else symbol
        kept = self._contracts.get(SeriesKey(market, "continuousKlines", pair, "PERPETUAL", "1s"))
        return None if kept is None else kept.get(at_ms - at_ms % _SECOND_MS)
