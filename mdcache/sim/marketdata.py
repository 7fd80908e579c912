"""The answers to market-data questions other than klines: which path is answered by what."""

from collections.abc import Callable, Mapping

from mdcache.sim import funding, orderbook, reference, rules, statistics, tickers, tradelists
from mdcache.sim.asking import Asked, read
from mdcache.sim.book import Book
from mdcache.sim.config import SymbolSpec
from mdcache.sim.desk import Desk
from mdcache.sim.printing import Json, compact
from mdcache.sim.refusals import Refusal
from mdcache.sim.routes import Endpoint, Route

Whole = Callable[[Desk, Asked, int], "Json | list[Json] | Refusal"]
Each = Callable[[Desk, Asked, SymbolSpec, int], Json]

_WHOLE: Mapping[Endpoint, Whole] = {
    "depth": orderbook.depth,
    "rpiDepth": orderbook.depth,
    "trades": tradelists.trades,
    "historicalTrades": tradelists.trades,
    "aggTrades": tradelists.aggregates,
    "avgPrice": tickers.average,
    "executionRules": rules.execution_rules,
    "referencePrice": rules.reference_price,
    "referencePrice/calculation": rules.reference_calculation,
    "fundingRate": funding.funding_rates,
    "fundingInfo": funding.funding_info,
    "openInterest": funding.open_interest,
    "indexInfo": reference.index_info,
    "assetIndex": reference.asset_index,
    "constituents": reference.constituents,
    "insuranceBalance": reference.insurance,
    "tradingSchedule": reference.schedule,
    "openInterestHist": statistics.rows,
    "topLongShortAccountRatio": statistics.rows,
    "topLongShortPositionRatio": statistics.rows,
    "globalLongShortAccountRatio": statistics.rows,
    "takerlongshortRatio": statistics.rows,
    "takerBuySellVol": statistics.rows,
    "basis": statistics.rows,
    "delivery-price": statistics.delivery_prices,
}
_EACH: Mapping[Endpoint, Each] = {  # one element a symbol
    "ticker": tickers.rolling,
    "ticker/24hr": tickers.day_ticker,
    "ticker/tradingDay": tickers.trading_day,
    "premiumIndex": funding.premium_index,
    "symbolAdlRisk": reference.adl_risk,
    "ticker/price": lambda desk, _, spec, at_ms: orderbook.price_ticker(desk, spec, at_ms),
    "ticker/bookTicker": lambda desk, _, spec, at_ms: orderbook.book_ticker(desk, spec, at_ms),
}


class MarketData:
    """Reads market-data questions and answers them, as of a moment."""

    def __init__(self, book: Book) -> None:
        self._listings = book.listings
        self._desk = Desk(book)

    def answer(self, route: Route, query: str, headers: Mapping[str, str], at_ms: int) -> bytes | Refusal:
        """The body, or the refusal."""
        asked = read(route, query, headers, self._listings, at_ms)
        if isinstance(asked, Refusal):
            return asked
        whole = _WHOLE.get(route.endpoint)
        if whole is not None:
            body = whole(self._desk, asked, at_ms)
            return body if isinstance(body, Refusal) else compact(body)
        each = _EACH[route.endpoint]
        found = [each(self._desk, asked, spec, at_ms) for spec in asked.specs]
        return compact(found[0] if asked.single and asked.market != "coinm" else found)
