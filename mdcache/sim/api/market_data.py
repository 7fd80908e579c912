"""The answers to market-data questions other than klines: which path is answered by what."""

from collections.abc import Callable, Mapping

from mdcache.sim.api import funding, order_book, reference, rules, statistics, tickers, trade_lists
from mdcache.sim.api.facts import Facts
from mdcache.sim.api.query import DataQuery, read
from mdcache.sim.api.refusals import ApiRefusal
from mdcache.sim.api.routes import ApiRoute, Endpoint
from mdcache.sim.config import SymbolSpec
from mdcache.sim.prices.instruments import Instruments
from mdcache.sim.prices.printing import Json, compact

Whole = Callable[[Facts, DataQuery, int], "Json | list[Json] | ApiRefusal"]
Each = Callable[[Facts, DataQuery, SymbolSpec, int], Json]

_WHOLE: Mapping[Endpoint, Whole] = {
    "depth": order_book.depth,
    "rpiDepth": order_book.depth,
    "trades": trade_lists.trades,
    "historicalTrades": trade_lists.trades,
    "aggTrades": trade_lists.aggregates,
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
    "ticker/price": lambda facts, _, spec, at_ms: order_book.price_ticker(facts, spec, at_ms),
    "ticker/bookTicker": lambda facts, _, spec, at_ms: order_book.book_ticker(facts, spec, at_ms),
}


class MarketData:
    """Reads market-data questions and answers them, as of a moment."""

    def __init__(self, instruments: Instruments) -> None:
        self._listings = instruments.listings
        self._facts = Facts(instruments)

    def answer(self, route: ApiRoute, query: str, headers: Mapping[str, str], at_ms: int) -> bytes | ApiRefusal:
        """The body, or the refusal."""
        asked = read(route, query, headers, self._listings, at_ms)
        if isinstance(asked, ApiRefusal):
            return asked
        whole = _WHOLE.get(route.endpoint)
        if whole is not None:
            body = whole(self._facts, asked, at_ms)
            return body if isinstance(body, ApiRefusal) else compact(body)
        each = _EACH[route.endpoint]
        found = [each(self._facts, asked, spec, at_ms) for spec in asked.specs]
        return compact(found[0] if asked.single and asked.market != "coinm" else found)
