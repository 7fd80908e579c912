"""Every public endpoint except klines and `exchangeInfo`: parameters and weights. Tables only.

Sources: docs/binance.md#spot-endpoints, docs/binance.md#usdm-endpoints, docs/binance.md#coinm-endpoints. Where a
measurement found more than the page says, the larger weight is used.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from mdcache.exchange.markets import Market


class ParameterKind(StrEnum):
    """What a parameter's value may be."""

    SYMBOL = "symbol"
    PAIR = "pair"
    SYMBOLS = "symbols"  # a JSON list of them
    NUMBER = "number"
    LIMIT = "limit"
    CHOICE = "choice"
    ZONE = "zone"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter.

    `default` applies if it is not sent; `maximum` is the largest number, or the most symbols in a list. `choices` are
    the only values accepted, for a limit, too. `listed`: the name must be in the market's `exchangeInfo`.
    `omits_default`: sending the default is the same question as leaving it out.
    """

    name: str
    kind: ParameterKind
    required: bool = False
    default: str = ""
    maximum: int = 0
    choices: tuple[str, ...] = ()
    listed: bool = True
    omits_default: bool = True


class WeightRule(Protocol):
    """The weight of a question, by its parameters; `str()` describes it."""

    def weigh(self, values: Mapping[str, str], symbols: int) -> int:
        """Return the weight of a question with these parameters that names `symbols` symbols (0: all)."""

    @property
    def bounds(self) -> tuple[int, int]:
        """The least and the greatest weight."""


@dataclass(frozen=True, slots=True)
class FlatWeight:
    """The same weight for every question."""

    weight: int

    def weigh(self, values: Mapping[str, str], symbols: int) -> int:  # noqa: ARG002 - the protocol's
        """Return `weight`."""
        return self.weight

    @property
    def bounds(self) -> tuple[int, int]:
        """The least and the greatest weight, which are the same."""
        return self.weight, self.weight

    def __str__(self) -> str:
        return str(self.weight)


@dataclass(frozen=True, slots=True)
class WeightByLimit:
    """Weight by `limit`: (up to, weight) steps in rising order."""

    steps: tuple[tuple[int, int], ...]
    default: int

    def weigh(self, values: Mapping[str, str], symbols: int) -> int:  # noqa: ARG002 - the protocol's
        """Return the weight of the first step that `limit` fits."""
        limit = int(values.get("limit", self.default))
        return next((weight for top, weight in self.steps if limit <= top), self.steps[-1][1])

    @property
    def bounds(self) -> tuple[int, int]:
        """The first and the last step."""
        return self.steps[0][1], self.steps[-1][1]

    def __str__(self) -> str:
        return ", ".join(f"{weight} up to {top} rows" for top, weight in self.steps)


@dataclass(frozen=True, slots=True)
class WeightBySymbolCount:
    """Weight by the number of named symbols: (up to, weight) steps, `all_symbols` for more, or if none is named.

    `list_costs_all`: a list of symbols costs as much as all, even a list of one.
    """

    steps: tuple[tuple[int, int], ...]
    all_symbols: int
    list_costs_all: bool = False

    def weigh(self, values: Mapping[str, str], symbols: int) -> int:
        """Return the weight of the first step that the count fits."""
        if not symbols or (self.list_costs_all and "symbols" in values):
            return self.all_symbols
        return next((weight for top, weight in self.steps if symbols <= top), self.all_symbols)

    @property
    def bounds(self) -> tuple[int, int]:
        """The weights of one symbol and of all."""
        return self.steps[0][1], self.all_symbols

    def __str__(self) -> str:
        said = [f"{weight} {f'up to {top} symbols' if top > 1 else 'for a symbol'}" for top, weight in self.steps]
        return ", ".join([*said, f"else {self.all_symbols}"])


@dataclass(frozen=True, slots=True)
class WeightPerSymbol:
    """Weight of `per_symbol` for each named symbol, at most `maximum`, which is also the weight of all."""

    per_symbol: int
    maximum: int

    def weigh(self, values: Mapping[str, str], symbols: int) -> int:  # noqa: ARG002 - the protocol's
        """Return the product, capped."""
        return min(self.maximum, self.per_symbol * symbols) if symbols else self.maximum

    @property
    def bounds(self) -> tuple[int, int]:
        """The weights of one symbol and of all."""
        return self.per_symbol, self.maximum

    def __str__(self) -> str:
        return f"{self.per_symbol} a symbol, at most {self.maximum}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path of one market.

    `exclusive`: at most one of these parameters may be sent; `one_required`: one of them must be. `lists_elements`:
    without symbol or pair the answer is a list whose elements are the answers for single symbols (`single_as_list`:
    lists of one element).
    """

    market: Market
    path: str
    weight: WeightRule
    parameters: tuple[Parameter, ...] = ()
    exclusive: tuple[str, ...] = ()
    one_required: bool = False
    lists_elements: bool = False
    single_as_list: bool = False

    def __hash__(self) -> int:  # hashed at every look-up, and hashing the fields is slow
        return hash(self.path)

    @property
    def short_path(self) -> str:
        """The path without market and version, such as `ticker/24hr`: a metrics label, a key of SNAPSHOT_TTLS."""
        return self.path.split("/", 3)[3]

    def parameter(self, name: str) -> Parameter | None:
        """Return the parameter of that name, if there is one."""
        return next((each for each in self.parameters if each.name == name), None)


def _limit(default: int, top: int, choices: tuple[str, ...] = ()) -> Parameter:
    return Parameter("limit", ParameterKind.LIMIT, default=str(default), maximum=top, choices=choices)


_SYMBOL = Parameter("symbol", ParameterKind.SYMBOL)
_REQUIRED_SYMBOL = Parameter("symbol", ParameterKind.SYMBOL, required=True)
_INDEX = Parameter("symbol", ParameterKind.SYMBOL, listed=False)  # an index or asset pair, which no exchangeInfo lists
_REQUIRED_INDEX = Parameter("symbol", ParameterKind.SYMBOL, required=True, listed=False)
_PAIR = Parameter("pair", ParameterKind.PAIR)
_REQUIRED_PAIR = Parameter("pair", ParameterKind.PAIR, required=True)
_SYMBOLS = Parameter("symbols", ParameterKind.SYMBOLS)
_UP_TO_100_SYMBOLS = Parameter("symbols", ParameterKind.SYMBOLS, maximum=100)
_STATUS = Parameter("symbolStatus", ParameterKind.CHOICE, choices=("TRADING", "HALT", "BREAK"))
_TYPE = Parameter("type", ParameterKind.CHOICE, default="FULL", choices=("FULL", "MINI"))
_FROM_ASSET = Parameter("fromAsset", ParameterKind.TEXT)
_TO_ASSET = Parameter("toAsset", ParameterKind.TEXT)
_FROM_ID = Parameter("fromId", ParameterKind.NUMBER)
_START = Parameter("startTime", ParameterKind.NUMBER)
_END = Parameter("endTime", ParameterKind.NUMBER)
_ZONE = Parameter("timeZone", ParameterKind.ZONE, default="0")
_WINDOW = Parameter(
    "windowSize",
    ParameterKind.CHOICE,
    default="1d",
    choices=(
        *(f"{n}m" for n in range(1, 60)),
        *(f"{n}h" for n in range(1, 24)),
        *(f"{n}d" for n in range(1, 8)),
    ),
)
_DEPTHS = ("5", "10", "20", "50", "100", "500", "1000")  # docs/binance.md#depth-limits; others: -4021, live
_PERIOD = Parameter(
    "period",
    ParameterKind.CHOICE,
    required=True,
    choices=("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d"),
)
_CONTRACTS = ("PERPETUAL", "CURRENT_QUARTER", "NEXT_QUARTER")
_CONTRACT = Parameter("contractType", ParameterKind.CHOICE, required=True, choices=_CONTRACTS)
_ANY_CONTRACT = Parameter("contractType", ParameterKind.CHOICE, required=True, choices=("ALL", *_CONTRACTS))
_TIME_SPAN = (_START, _END, _limit(30, 500))
_SYMBOL_OR_LIST = ("symbol", "symbols")


def _spot(
    short_path: str,
    weight: WeightRule,
    *parameters: Parameter,
    lists_elements: bool = False,
    one_required: bool = False,
) -> Endpoint:
    names = {each.name for each in parameters}
    one_of: tuple[str, ...] = _SYMBOL_OR_LIST if names.issuperset(_SYMBOL_OR_LIST) else ()
    if short_path == "executionRules":  # rest-api.md: "No combination of multiple parameters is allowed"
        one_of = (*_SYMBOL_OR_LIST, "symbolStatus")
    return Endpoint(Market.SPOT, f"/api/v3/{short_path}", weight, parameters, one_of, one_required, lists_elements)


def _usdm(
    short_path: str, weight: WeightRule, *parameters: Parameter, lists_elements: bool = False, version: str = "v1"
) -> Endpoint:
    return Endpoint(Market.USDM, f"/fapi/{version}/{short_path}", weight, parameters, lists_elements=lists_elements)


def _coinm(short_path: str, weight: WeightRule, *parameters: Parameter, lists_elements: bool = False) -> Endpoint:
    one_of = ("symbol", "pair") if _PAIR in parameters else ()
    return Endpoint(
        Market.COINM,
        f"/dapi/v1/{short_path}",
        weight,
        parameters,
        one_of,
        lists_elements=lists_elements,
        single_as_list=True,
    )


def _futures_data(market: Market, short_path: str, *parameters: Parameter) -> Endpoint:
    # usdm: no weight; coinm: 1 (docs/binance.md#request-limits); both have request limits of their own: rate_limits.py
    return Endpoint(market, f"/futures/data/{short_path}", FlatWeight(0 if market is Market.USDM else 1), parameters)


def _one_or_all(one: int, every: int) -> WeightBySymbolCount:
    return WeightBySymbolCount(((1, one),), every)


_ONE_OR_MORE = WeightBySymbolCount(((1, 2),), 4, list_costs_all=True)  # rest-api.md: symbol 2, symbols "Any" 4
# "Default 100", and "the most recent 200 records" if no time is sent: docs/binance.md#usdm-endpoints
_FUNDING_LIMIT = Parameter("limit", ParameterKind.LIMIT, default="100", maximum=1000, omits_default=False)
_FUTURES_DEPTH = WeightByLimit(((50, 2), (100, 5), (500, 10), (1000, 20)), 500)
_RATIOS = ("topLongShortAccountRatio", "topLongShortPositionRatio", "globalLongShortAccountRatio")

_ALL = (
    # ------------------------------------------------------------------------------------------------ spot
    _spot("executionRules", WeightPerSymbol(2, 40), _SYMBOL, _SYMBOLS, _STATUS),
    _spot(
        "depth",
        WeightByLimit(((100, 5), (500, 25), (1000, 50), (5000, 250)), 100),
        *(_REQUIRED_SYMBOL, _limit(100, 5000), _STATUS),
    ),
    _spot("trades", FlatWeight(25), _REQUIRED_SYMBOL, _limit(500, 1000)),
    _spot("historicalTrades", FlatWeight(25), _REQUIRED_SYMBOL, _limit(500, 1000), _FROM_ID),
    _spot("aggTrades", FlatWeight(4), _REQUIRED_SYMBOL, _FROM_ID, _START, _END, _limit(500, 1000)),
    _spot("avgPrice", FlatWeight(2), _REQUIRED_SYMBOL),
    _spot(
        "ticker/24hr",
        WeightBySymbolCount(((20, 2), (100, 40)), 80),
        _SYMBOL,
        _SYMBOLS,
        _TYPE,
        _STATUS,
        lists_elements=True,
    ),
    _spot(
        "ticker/tradingDay",
        WeightPerSymbol(4, 200),
        _SYMBOL,
        _UP_TO_100_SYMBOLS,
        _ZONE,
        _TYPE,
        _STATUS,
        one_required=True,
    ),
    _spot("ticker", WeightPerSymbol(4, 200), _SYMBOL, _UP_TO_100_SYMBOLS, _WINDOW, _TYPE, _STATUS, one_required=True),
    _spot("ticker/price", _ONE_OR_MORE, _SYMBOL, _SYMBOLS, _STATUS, lists_elements=True),
    _spot("ticker/bookTicker", _ONE_OR_MORE, _SYMBOL, _SYMBOLS, _STATUS, lists_elements=True),
    _spot("referencePrice", FlatWeight(2), _REQUIRED_SYMBOL),
    _spot("referencePrice/calculation", FlatWeight(2), _REQUIRED_SYMBOL, _STATUS),
    Endpoint(Market.SPOT, "/sapi/v1/system/status", FlatWeight(1)),  # the one path of /sapi/ that needs no key
    # ------------------------------------------------------------------------------------------------ USD-M
    _usdm("depth", _FUTURES_DEPTH, _REQUIRED_SYMBOL, _limit(500, 1000, _DEPTHS)),
    _usdm("rpiDepth", FlatWeight(20), _REQUIRED_SYMBOL, _limit(1000, 1000, ("1000",))),
    _usdm("trades", FlatWeight(5), _REQUIRED_SYMBOL, _limit(500, 1000)),
    _usdm("aggTrades", FlatWeight(20), _REQUIRED_SYMBOL, _FROM_ID, _START, _END, _limit(500, 1000)),
    _usdm("premiumIndex", _one_or_all(1, 10), _SYMBOL, lists_elements=True),
    _usdm("fundingRate", FlatWeight(0), _SYMBOL, _START, _END, _FUNDING_LIMIT),
    _usdm("fundingInfo", FlatWeight(0)),
    _usdm("ticker/24hr", _one_or_all(1, 40), _SYMBOL, lists_elements=True),
    _usdm("ticker/price", _one_or_all(1, 2), _SYMBOL, lists_elements=True),
    _usdm("ticker/price", _one_or_all(1, 2), _SYMBOL, lists_elements=True, version="v2"),
    _usdm("ticker/bookTicker", _one_or_all(2, 5), _SYMBOL, lists_elements=True),
    _usdm("openInterest", FlatWeight(1), _REQUIRED_SYMBOL),
    _usdm("indexInfo", _one_or_all(1, 10), _INDEX),  # 10 without symbol: docs/binance.md#usdm-endpoints
    _usdm("assetIndex", _one_or_all(1, 10), _INDEX),
    _usdm("constituents", FlatWeight(2), _REQUIRED_INDEX),
    _usdm("insuranceBalance", _one_or_all(1, 40), _SYMBOL),  # 40 without symbol: docs/binance.md#usdm-endpoints
    _usdm("symbolAdlRisk", FlatWeight(1), _SYMBOL),
    _usdm("tradingSchedule", FlatWeight(5)),
    _usdm("convert/exchangeInfo", FlatWeight(20), _FROM_ASSET, _TO_ASSET),
    _futures_data(Market.USDM, "openInterestHist", _REQUIRED_SYMBOL, _PERIOD, *_TIME_SPAN),
    *(
        _futures_data(Market.USDM, short_path, _REQUIRED_SYMBOL, _PERIOD, *_TIME_SPAN)
        for short_path in (*_RATIOS, "takerlongshortRatio")
    ),
    _futures_data(Market.USDM, "basis", _REQUIRED_PAIR, _CONTRACT, _PERIOD, *_TIME_SPAN),
    _futures_data(Market.USDM, "delivery-price", _REQUIRED_PAIR),
    # ------------------------------------------------------------------------------------------------ COIN-M
    _coinm("depth", _FUTURES_DEPTH, _REQUIRED_SYMBOL, _limit(500, 1000, _DEPTHS)),
    _coinm("trades", FlatWeight(5), _REQUIRED_SYMBOL, _limit(500, 1000)),
    _coinm("aggTrades", FlatWeight(20), _REQUIRED_SYMBOL, _FROM_ID, _START, _END, _limit(500, 1000)),
    _coinm("premiumIndex", FlatWeight(10), _SYMBOL, _PAIR, lists_elements=True),
    _coinm("fundingRate", FlatWeight(1), _REQUIRED_SYMBOL, _START, _END, _limit(100, 1000)),
    _coinm("fundingInfo", FlatWeight(1)),  # its page states no weight
    _coinm("ticker/24hr", _one_or_all(1, 40), _SYMBOL, _PAIR, lists_elements=True),
    _coinm("ticker/price", _one_or_all(1, 2), _SYMBOL, _PAIR, lists_elements=True),
    _coinm("ticker/bookTicker", _one_or_all(2, 5), _SYMBOL, _PAIR, lists_elements=True),
    _coinm("openInterest", FlatWeight(1), _REQUIRED_SYMBOL),
    _coinm("constituents", FlatWeight(2), _REQUIRED_INDEX),  # docs/binance.md#coinm-endpoints
    _futures_data(Market.COINM, "openInterestHist", _REQUIRED_PAIR, _ANY_CONTRACT, _PERIOD, *_TIME_SPAN),
    *(_futures_data(Market.COINM, short_path, _REQUIRED_PAIR, _PERIOD, *_TIME_SPAN) for short_path in _RATIOS),
    _futures_data(Market.COINM, "takerBuySellVol", _REQUIRED_PAIR, _ANY_CONTRACT, _PERIOD, *_TIME_SPAN),
    _futures_data(Market.COINM, "basis", _REQUIRED_PAIR, _CONTRACT, _PERIOD, *_TIME_SPAN),
    _futures_data(Market.COINM, "delivery-price", _REQUIRED_PAIR),
)

ENDPOINTS: dict[str, tuple[Endpoint, ...]] = {
    path: tuple(each for each in _ALL if each.path == path) for path in dict.fromkeys(each.path for each in _ALL)
}


def endpoint_for(path: str, sent: Mapping[str, str]) -> Endpoint:
    """Return the endpoint of a question to `path`: `/futures/data/` serves both futures markets.

    COIN-M names a pair where USD-M names a symbol; where both name pairs, COIN-M's end in USD.
    """
    usdm, *coinm = ENDPOINTS[path]
    if not coinm or "symbol" in sent:
        return usdm
    pair = sent.get("pair", "")
    return coinm[0] if pair.upper().endswith("USD") or (pair and usdm.parameter("pair") is None) else usdm
