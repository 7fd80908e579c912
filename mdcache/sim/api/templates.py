"""Templates of all bodies but candles, with the fields of Binance's samples in their order.

`$name` is a key of `placeholders.py` (in trades: of `market_data.py`). `shape` says how often the text is repeated in
a body: "one": once; "each": for each symbol, in a list unless one was named; "rows": for each moment of a window;
"trades": for each trade of a window.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from string import Template
from typing import Literal

from mdcache.sim.config import Market


@dataclass(frozen=True, slots=True)
class BodyTemplate:
    """A text with placeholders, and how often it is repeated in a body."""

    shape: Literal["one", "each", "rows", "trades"]
    text: str
    filled: Template = field(init=False)

    def __post_init__(self) -> None:
        """Compile the text."""
        object.__setattr__(self, "filled", Template(self.text))


def _one(text: str) -> BodyTemplate:
    return BodyTemplate("one", text)


def _each(text: str) -> BodyTemplate:
    return BodyTemplate("each", text)


def _rows(text: str) -> BodyTemplate:
    return BodyTemplate("rows", text)


_CHANGE = '"priceChange":"$change","priceChangePercent":"$percent","weightedAvgPrice":"$mean",'
_PRICES = '"openPrice":"$open","highPrice":"$high","lowPrice":"$low",'
_SUMS = (
    '"volume":"$volume","quoteVolume":"$turnover","openTime":$open_time,"closeTime":$close_time,'
    '"firstId":$first_id,"lastId":$last_id,"count":$count}'
)
_LAST = '"lastPrice":"$last",'
_TOP = '"bidPrice":"$bid","bidQty":"$bid_size","askPrice":"$ask","askQty":"$ask_size"'
_TICKER = _each('{"symbol":"$symbol",' + _CHANGE + _PRICES + _LAST + _SUMS)
_FUTURES_DAY = _CHANGE + _LAST + '"lastQty":"$last_size",' + _PRICES + _SUMS
_TRADE = '{"id":$id,"price":"$price","qty":"$size","quoteQty":"$worth","time":$time,"isBuyerMaker":$maker'
_SPOT_TRADES = BodyTemplate("trades", _TRADE + ',"isBestMatch":true}')
_AGGREGATE = '{"a":$id,"p":"$price","q":"$size","f":$id,"l":$id,"T":$time,"m":$maker'
_BOOK = '"E":$now,"T":$tick,"bids":$bids,"asks":$asks}'
_USDM_BOOK = _one('{"lastUpdateId":$update_id,' + _BOOK)
_PREMIUM = (
    '"markPrice":"$mark","indexPrice":"$index","estimatedSettlePrice":"$index","lastFundingRate":"$funding_rate",'
    '"interestRate":"$interest_rate","nextFundingTime":$next_funding,"time":$now}'
)
_FUNDING_INFO = _each(
    '{"symbol":"$symbol","adjustedFundingRateCap":"0.02000000","adjustedFundingRateFloor":"-0.02000000",'
    '"fundingIntervalHours":8,"disclaimer":false}'
)
_SOURCE = (
    '{"exchange":"binance","symbol":"$base$quote","price":"$index","weight":"0.50000000"},'
    '{"exchange":"coinbase","symbol":"$base-$quote","price":"$index","weight":"0.50000000"}'
)
_COIN_SOURCE = '{"exchange":"bitstamp","symbol":"$base$quote"},{"exchange":"coinbase","symbol":"$base-$quote"}'
_RATIO_OF = '"longShortRatio":"$long_to_short","long%s":"$long","short%s":"$short","timestamp":$now}'
_USDM_RATIO = _rows('{"symbol":"$name",' + _RATIO_OF % ("Account", "Account"))
_COINM_RATIO = _rows('{"pair":"$pair",' + _RATIO_OF % ("Account", "Account"))
_INTEREST_SUMS = '"sumOpenInterest":"$interest_sum","sumOpenInterestValue":"$interest_value",'
_SCHEDULE = '{"sessions":[{"startTime":$today,"endTime":$tomorrow,"type":"REGULAR"}]}'

_SPOT: dict[str, BodyTemplate] = {
    "depth": _one('{"lastUpdateId":$update_id,"bids":$bids,"asks":$asks}'),
    "trades": _SPOT_TRADES,
    "historicalTrades": _SPOT_TRADES,
    "aggTrades": BodyTemplate("trades", _AGGREGATE + ',"M":true}'),
    "avgPrice": _one('{"mins":5,"price":"$mean_or_last","closeTime":$last_time}'),
    "ticker": _TICKER,
    "ticker/tradingDay": _TICKER,
    "ticker/24hr": _each(
        '{"symbol":"$symbol",' + _CHANGE + '"prevClosePrice":"$open",' + _LAST + '"lastQty":"$last_size",'
        + _TOP + "," + _PRICES + _SUMS
    ),
    "ticker/price": _each('{"symbol":"$symbol","price":"$last"}'),
    "ticker/bookTicker": _each('{"symbol":"$symbol",' + _TOP + "}"),
    "executionRules": _each(
        '{"symbol":"$symbol","rules":[{"ruleType":"PRICE_RANGE","bidLimitMultUp":"1.1","bidLimitMultDown":"0.2",'
        '"askLimitMultUp":"5","askLimitMultDown":"0.9"}]}'
    ),
    "referencePrice": _one('{"symbol":"$symbol","referencePrice":$reference,"timestamp":$tick}'),
    "referencePrice/calculation": _one(
        '{"symbol":"$symbol","calculationType":"ARITHMETIC_MEAN","bucketCount":10,"bucketWidthMs":1000}'
    ),
    "system/status": _one('{"status":0,"msg":"normal"}'),
}  # fmt: skip
_FUTURES: dict[str, BodyTemplate] = {
    "aggTrades": BodyTemplate("trades", _AGGREGATE + "}"),
    "fundingInfo": _FUNDING_INFO,
    "takerlongshortRatio": _rows(
        '{"buySellRatio":"$buys_to_sales","buyVol":"$buys","sellVol":"$sales","timestamp":$now}'
    ),
    "takerBuySellVol": _rows(
        '{"pair":"$name","contractType":"$contract_type","takerBuyVol":"$buys","takerSellVol":"$sales",'
        '"takerBuyVolValue":"$buys_value","takerSellVolValue":"$sales_value","timestamp":$now}'
    ),
    "basis": _rows(
        '{"indexPrice":"$index","contractType":"$contract_type","basisRate":"$basis_rate","futuresPrice":"$last",'
        '"annualizedBasisRate":"","basis":"$basis","pair":"$name","timestamp":$now}'
    ),
    "delivery-price": _rows('{"deliveryTime":$now,"deliveryPrice":$index_number}'),
}
_USDM: dict[str, BodyTemplate] = {
    "depth": _USDM_BOOK,
    "rpiDepth": _USDM_BOOK,
    "trades": BodyTemplate("trades", _TRADE + ',"isRPITrade":false}'),
    "ticker/24hr": _each('{"symbol":"$symbol",' + _FUTURES_DAY),
    "ticker/price": _each('{"symbol":"$symbol","price":"$last","time":$last_time}'),
    "ticker/bookTicker": _each('{"symbol":"$symbol",' + _TOP + ',"time":$tick}'),
    "premiumIndex": _each('{"symbol":"$symbol",' + _PREMIUM),
    "fundingRate": _rows('{"symbol":"$symbol","fundingRate":"$funding_rate","fundingTime":$now,"markPrice":"$mark"}'),
    "openInterest": _one('{"openInterest":"$interest","symbol":"$symbol","time":$now}'),
    "constituents": _one('{"symbol":"$pair","time":$now,"constituents":[' + _SOURCE + "]}"),
    "indexInfo": _one(
        '[{"symbol":"DEFIUSDT","time":$now,"component":"baseAsset","baseAssetList":[{"baseAsset":"$base",'
        '"quoteAsset":"USDT","weightInQuantity":"1.00000000","weightInPercentage":"1.00000000"}]}]'
    ),
    "assetIndex": _each(
        '{"symbol":"${base}USD","time":$now,"index":"$index","bidBuffer":"0.10000000","askBuffer":"0.10000000",'
        '"bidRate":"$index_below","askRate":"$index_above","autoExchangeBidBuffer":"0.10000000",'
        '"autoExchangeAskBuffer":"0.10000000","autoExchangeBidRate":"$index_below",'
        '"autoExchangeAskRate":"$index_above"}'
    ),
    "insuranceBalance": _each(
        '{"symbols":["$symbol"],"assets":[{"asset":"$quote","marginBalance":"$fund","updateTime":$today}]}'
    ),
    "symbolAdlRisk": _each('{"symbol":"$symbol","adlRisk":"$risk","updateTime":$half_hour}'),
    "tradingSchedule": _one(
        '{"updateTime":$today,"marketSchedules":{"EQUITY":' + _SCHEDULE + ',"COMMODITY":' + _SCHEDULE + "}}"
    ),
    "convert/exchangeInfo": _each(
        '{"fromAsset":"$base","toAsset":"$quote","fromAssetMinAmount":"0.0004","fromAssetMaxAmount":"50",'
        '"toAssetMinAmount":"20","toAssetMaxAmount":"2500000"}'
    ),
    "openInterestHist": _rows(
        '{"symbol":"$name",' + _INTEREST_SUMS + '"CMCCirculatingSupply":"$supply","timestamp":$now}'
    ),
    "topLongShortAccountRatio": _USDM_RATIO,
    "topLongShortPositionRatio": _USDM_RATIO,
    "globalLongShortAccountRatio": _USDM_RATIO,
}
_COINM: dict[str, BodyTemplate] = {
    "depth": _one('{"lastUpdateId":$update_id,"symbol":"$symbol","pair":"$pair",' + _BOOK),
    "trades": BodyTemplate("trades", _TRADE.replace("quoteQty", "baseQty") + "}"),
    "ticker/24hr": _each('{"symbol":"$symbol","pair":"$pair",' + _FUTURES_DAY.replace("quoteV", "baseV")),
    "ticker/price": _each('{"symbol":"$symbol","ps":"$pair","price":"$last","time":$last_time}'),
    "ticker/bookTicker": _each(
        '{"lastUpdateId":$update_id,"symbol":"$symbol","pair":"$pair",' + _TOP + ',"time":$tick}'
    ),
    "premiumIndex": _each('{"symbol":"$symbol","pair":"$pair",' + _PREMIUM),
    "fundingRate": _rows('{"symbol":"$symbol","fundingTime":$now,"fundingRate":"$funding_rate"}'),
    "openInterest": _one(
        '{"symbol":"$symbol","pair":"$pair","openInterest":"$interest","contractType":"$type","time":$now}'
    ),
    "constituents": _one('{"symbol":"$pair","time":$now,"constituents":[' + _COIN_SOURCE + "]}"),
    "openInterestHist": _rows(
        '{"pair":"$name","contractType":"$contract_type",' + _INTEREST_SUMS + '"timestamp":$now}'
    ),
    "topLongShortAccountRatio": _COINM_RATIO,
    "topLongShortPositionRatio": _rows('{"pair":"$pair",' + _RATIO_OF % ("Position", "Position")),
    "globalLongShortAccountRatio": _COINM_RATIO,
}
MINI = _each('{"symbol":"$symbol",' + _PRICES + _LAST + _SUMS)  # spot's tickers with type=MINI
TEMPLATES: Mapping[Market, Mapping[str, BodyTemplate]] = {
    "spot": _SPOT,
    "usdm": _FUTURES | _USDM,
    "coinm": _FUTURES | _COINM,
}
