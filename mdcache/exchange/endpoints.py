"""Every public read that is no kline: which parameters it takes and what it weighs. Tables only.

Sources: BINANCE 1.3 (rest-api.md), 1.4 (U-market-data pages, measured 2026-08 and 2026-10), 1.5 (C-market-data
pages). Where a measurement says more than a page, the dearer one stands.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from mdcache.exchange.markets import Market


class Kind(StrEnum):
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
    """One parameter. `default` is what its absence means; `top` the largest number, or the most symbols.

    `choices`: all that is taken, for a limit too. `listed`: its name stands in the market's `exchangeInfo`, or the
    question is refused. `folded`: saying the default aloud asks the same as leaving it out.
    """

    name: str
    kind: Kind
    required: bool = False
    default: str = ""
    top: int = 0
    choices: tuple[str, ...] = ()
    listed: bool = True
    folded: bool = True


class Weight(Protocol):
    """What a question costs, by its parameters; `str()` says it for people."""

    def of(self, values: Mapping[str, str], symbols: int) -> int:
        """Weight of a question with these parameters, `symbols` of which name how many symbols (0: all)."""
        ...

    @property
    def span(self) -> tuple[int, int]:
        """The least and the most it may cost."""
        ...


@dataclass(frozen=True, slots=True)
class Flat:
    """The same whatever is asked."""

    weight: int

    def of(self, values: Mapping[str, str], symbols: int) -> int:  # noqa: ARG002 - the protocol's
        """`weight`."""
        return self.weight

    @property
    def span(self) -> tuple[int, int]:
        """`weight`, twice."""
        return self.weight, self.weight

    def __str__(self) -> str:
        return str(self.weight)


@dataclass(frozen=True, slots=True)
class ByLimit:
    """By `limit`: (up to, weight) steps in rising order."""

    steps: tuple[tuple[int, int], ...]
    default: int

    def of(self, values: Mapping[str, str], symbols: int) -> int:  # noqa: ARG002 - the protocol's
        """The first step that `limit` fits."""
        limit = int(values.get("limit", self.default))
        return next((weight for top, weight in self.steps if limit <= top), self.steps[-1][1])

    @property
    def span(self) -> tuple[int, int]:
        """The first and the last step."""
        return self.steps[0][1], self.steps[-1][1]

    def __str__(self) -> str:
        return ", ".join(f"{weight} up to {top} rows" for top, weight in self.steps)


@dataclass(frozen=True, slots=True)
class BySymbols:
    """By how many symbols are named: (up to, weight) steps, and `every` for more, or for all by naming none.

    `listed`: a list of symbols costs as much as all, be it a list of one.
    """

    steps: tuple[tuple[int, int], ...]
    every: int
    listed: bool = False

    def of(self, values: Mapping[str, str], symbols: int) -> int:
        """The first step that the count fits."""
        if not symbols or (self.listed and "symbols" in values):
            return self.every
        return next((weight for top, weight in self.steps if symbols <= top), self.every)

    @property
    def span(self) -> tuple[int, int]:
        """One symbol, and all."""
        return self.steps[0][1], self.every

    def __str__(self) -> str:
        said = [f"{weight} {f'up to {top} symbols' if top > 1 else 'for a symbol'}" for top, weight in self.steps]
        return ", ".join([*said, f"else {self.every}"])


@dataclass(frozen=True, slots=True)
class PerSymbol:
    """So much for each symbol named, at most `most`, and `most` for all."""

    each: int
    most: int

    def of(self, values: Mapping[str, str], symbols: int) -> int:  # noqa: ARG002 - the protocol's
        """The product, capped."""
        return min(self.most, self.each * symbols) if symbols else self.most

    @property
    def span(self) -> tuple[int, int]:
        """One symbol, and all."""
        return self.each, self.most

    def __str__(self) -> str:
        return f"{self.each} a symbol, at most {self.most}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path of one market.

    `one_of`: of these parameters at most one may be sent; `one_needed`: and one must be. `parts`: without symbol or
    pair it answers a list, of which the answer to one symbol is an element (`parts_in_list`: a list of that one).
    """

    market: Market
    path: str
    weight: Weight
    parameters: tuple[Parameter, ...] = ()
    one_of: tuple[str, ...] = ()
    one_needed: bool = False
    parts: bool = False
    parts_in_list: bool = False

    def __hash__(self) -> int:  # each look for an answer takes it, and the tables below are long
        return hash(self.path)

    @property
    def tail(self) -> str:
        """The path without its market and version, such as `ticker/24hr`: a metrics label, a key of SNAPSHOT_TTLS."""
        return self.path.split("/", 3)[3]

    def parameter(self, name: str) -> Parameter | None:
        """The parameter of that name."""
        return next((each for each in self.parameters if each.name == name), None)


def _limit(default: int, top: int, choices: tuple[str, ...] = ()) -> Parameter:
    return Parameter("limit", Kind.LIMIT, default=str(default), top=top, choices=choices)


_SYMBOL = Parameter("symbol", Kind.SYMBOL)
_THE_SYMBOL = Parameter("symbol", Kind.SYMBOL, required=True)
_INDEX = Parameter("symbol", Kind.SYMBOL, listed=False)  # an index or asset pair, in no exchangeInfo
_THE_INDEX = Parameter("symbol", Kind.SYMBOL, required=True, listed=False)
_PAIR = Parameter("pair", Kind.PAIR)
_THE_PAIR = Parameter("pair", Kind.PAIR, required=True)
_SYMBOLS = Parameter("symbols", Kind.SYMBOLS)
_HUNDRED = Parameter("symbols", Kind.SYMBOLS, top=100)
_STATUS = Parameter("symbolStatus", Kind.CHOICE, choices=("TRADING", "HALT", "BREAK"))
_TYPE = Parameter("type", Kind.CHOICE, default="FULL", choices=("FULL", "MINI"))
_FROM_ID = Parameter("fromId", Kind.NUMBER)
_START = Parameter("startTime", Kind.NUMBER)
_END = Parameter("endTime", Kind.NUMBER)
_ZONE = Parameter("timeZone", Kind.ZONE, default="0")
_WINDOW = Parameter(
    "windowSize",
    Kind.CHOICE,
    default="1d",
    choices=(
        *(f"{n}m" for n in range(1, 60)),
        *(f"{n}h" for n in range(1, 24)),
        *(f"{n}d" for n in range(1, 8)),
    ),
)
_DEPTHS = ("5", "10", "20", "50", "100", "500", "1000")  # U-/C-Order-Book; others: -4021, live
_PERIOD = Parameter(
    "period",
    Kind.CHOICE,
    required=True,
    choices=("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d"),
)
_CONTRACTS = ("PERPETUAL", "CURRENT_QUARTER", "NEXT_QUARTER")
_CONTRACT = Parameter("contractType", Kind.CHOICE, required=True, choices=_CONTRACTS)
_ANY_CONTRACT = Parameter("contractType", Kind.CHOICE, required=True, choices=("ALL", *_CONTRACTS))
_WINDOWED = (_START, _END, _limit(30, 500))
_SPOT_SET = ("symbol", "symbols")


def _spot(tail: str, weight: Weight, *parameters: Parameter, parts: bool = False, needed: bool = False) -> Endpoint:
    names = {each.name for each in parameters}
    one_of: tuple[str, ...] = _SPOT_SET if names.issuperset(_SPOT_SET) else ()
    if tail == "executionRules":  # rest-api.md: "No combination of multiple parameters is allowed"
        one_of = (*_SPOT_SET, "symbolStatus")
    return Endpoint(Market.SPOT, f"/api/v3/{tail}", weight, parameters, one_of, needed, parts)


def _usdm(tail: str, weight: Weight, *parameters: Parameter, parts: bool = False, version: str = "v1") -> Endpoint:
    return Endpoint(Market.USDM, f"/fapi/{version}/{tail}", weight, parameters, parts=parts)


def _coinm(tail: str, weight: Weight, *parameters: Parameter, parts: bool = False) -> Endpoint:
    one_of = ("symbol", "pair") if _PAIR in parameters else ()
    return Endpoint(Market.COINM, f"/dapi/v1/{tail}", weight, parameters, one_of, parts=parts, parts_in_list=True)


def _data(market: Market, tail: str, *parameters: Parameter) -> Endpoint:
    # usdm: no weight; coinm: 1 (D-CHG 2023-10-19); both in a bucket of their own: limits.py
    return Endpoint(market, f"/futures/data/{tail}", Flat(0 if market is Market.USDM else 1), parameters)


def _one_or_all(one: int, every: int) -> BySymbols:
    return BySymbols(((1, one),), every)


_ONE_OR_MORE = BySymbols(((1, 2),), 4, listed=True)  # rest-api.md: symbol 2, symbols "Any" 4
# "Default 100", and "the most recent 200 records" where no time is sent: U-Get-Funding-Rate-History
_FUNDING_LIMIT = Parameter("limit", Kind.LIMIT, default="100", top=1000, folded=False)
_FUTURES_DEPTH = ByLimit(((50, 2), (100, 5), (500, 10), (1000, 20)), 500)
_RATIOS = ("topLongShortAccountRatio", "topLongShortPositionRatio", "globalLongShortAccountRatio")

_ALL = (
    # ------------------------------------------------------------------------------------------------ spot
    _spot("executionRules", PerSymbol(2, 40), _SYMBOL, _SYMBOLS, _STATUS),
    _spot(
        "depth",
        ByLimit(((100, 5), (500, 25), (1000, 50), (5000, 250)), 100),
        *(_THE_SYMBOL, _limit(100, 5000), _STATUS),
    ),
    _spot("trades", Flat(25), _THE_SYMBOL, _limit(500, 1000)),
    _spot("historicalTrades", Flat(25), _THE_SYMBOL, _limit(500, 1000), _FROM_ID),
    _spot("aggTrades", Flat(4), _THE_SYMBOL, _FROM_ID, _START, _END, _limit(500, 1000)),
    _spot("avgPrice", Flat(2), _THE_SYMBOL),
    _spot("ticker/24hr", BySymbols(((20, 2), (100, 40)), 80), _SYMBOL, _SYMBOLS, _TYPE, _STATUS, parts=True),
    _spot("ticker/tradingDay", PerSymbol(4, 200), _SYMBOL, _HUNDRED, _ZONE, _TYPE, _STATUS, needed=True),
    _spot("ticker", PerSymbol(4, 200), _SYMBOL, _HUNDRED, _WINDOW, _TYPE, _STATUS, needed=True),
    _spot("ticker/price", _ONE_OR_MORE, _SYMBOL, _SYMBOLS, _STATUS, parts=True),
    _spot("ticker/bookTicker", _ONE_OR_MORE, _SYMBOL, _SYMBOLS, _STATUS, parts=True),
    _spot("referencePrice", Flat(2), _THE_SYMBOL),
    _spot("referencePrice/calculation", Flat(2), _THE_SYMBOL, _STATUS),
    # ------------------------------------------------------------------------------------------------ USD-M
    _usdm("depth", _FUTURES_DEPTH, _THE_SYMBOL, _limit(500, 1000, _DEPTHS)),
    _usdm("rpiDepth", Flat(20), _THE_SYMBOL, _limit(1000, 1000, ("1000",))),
    _usdm("trades", Flat(5), _THE_SYMBOL, _limit(500, 1000)),
    _usdm("aggTrades", Flat(20), _THE_SYMBOL, _FROM_ID, _START, _END, _limit(500, 1000)),
    _usdm("premiumIndex", _one_or_all(1, 10), _SYMBOL, parts=True),
    _usdm("fundingRate", Flat(0), _SYMBOL, _START, _END, _FUNDING_LIMIT),
    _usdm("fundingInfo", Flat(0)),
    _usdm("ticker/24hr", _one_or_all(1, 40), _SYMBOL, parts=True),
    _usdm("ticker/price", _one_or_all(1, 2), _SYMBOL, parts=True),
    _usdm("ticker/price", _one_or_all(1, 2), _SYMBOL, parts=True, version="v2"),
    _usdm("ticker/bookTicker", _one_or_all(2, 5), _SYMBOL, parts=True),
    _usdm("openInterest", Flat(1), _THE_SYMBOL),
    _usdm("indexInfo", _one_or_all(1, 10), _INDEX),  # 10 without symbol: M-FAPI
    _usdm("assetIndex", _one_or_all(1, 10), _INDEX),
    _usdm("constituents", Flat(2), _THE_INDEX),
    _usdm("insuranceBalance", _one_or_all(1, 40), _SYMBOL),  # 40 without symbol: M-FAPI
    _usdm("symbolAdlRisk", Flat(1), _SYMBOL),
    _usdm("tradingSchedule", Flat(5)),
    _data(Market.USDM, "openInterestHist", _THE_SYMBOL, _PERIOD, *_WINDOWED),
    *(_data(Market.USDM, tail, _THE_SYMBOL, _PERIOD, *_WINDOWED) for tail in (*_RATIOS, "takerlongshortRatio")),
    _data(Market.USDM, "basis", _THE_PAIR, _CONTRACT, _PERIOD, *_WINDOWED),
    _data(Market.USDM, "delivery-price", _THE_PAIR),
    # ------------------------------------------------------------------------------------------------ COIN-M
    _coinm("depth", _FUTURES_DEPTH, _THE_SYMBOL, _limit(500, 1000, _DEPTHS)),
    _coinm("trades", Flat(5), _THE_SYMBOL, _limit(500, 1000)),
    _coinm("aggTrades", Flat(20), _THE_SYMBOL, _FROM_ID, _START, _END, _limit(500, 1000)),
    _coinm("premiumIndex", Flat(10), _SYMBOL, _PAIR, parts=True),
    _coinm("fundingRate", Flat(1), _THE_SYMBOL, _START, _END, _limit(100, 1000)),
    _coinm("fundingInfo", Flat(1)),  # its page states no weight
    _coinm("ticker/24hr", _one_or_all(1, 40), _SYMBOL, _PAIR, parts=True),
    _coinm("ticker/price", _one_or_all(1, 2), _SYMBOL, _PAIR, parts=True),
    _coinm("ticker/bookTicker", _one_or_all(2, 5), _SYMBOL, _PAIR, parts=True),
    _coinm("openInterest", Flat(1), _THE_SYMBOL),
    _coinm("constituents", Flat(2), _THE_INDEX),  # 1 by its page, 2 by M-DAPI
    _data(Market.COINM, "openInterestHist", _THE_PAIR, _ANY_CONTRACT, _PERIOD, *_WINDOWED),
    *(_data(Market.COINM, tail, _THE_PAIR, _PERIOD, *_WINDOWED) for tail in _RATIOS),
    _data(Market.COINM, "takerBuySellVol", _THE_PAIR, _ANY_CONTRACT, _PERIOD, *_WINDOWED),
    _data(Market.COINM, "basis", _THE_PAIR, _CONTRACT, _PERIOD, *_WINDOWED),
    _data(Market.COINM, "delivery-price", _THE_PAIR),
)

ENDPOINTS: dict[str, tuple[Endpoint, ...]] = {
    path: tuple(each for each in _ALL if each.path == path) for path in dict.fromkeys(each.path for each in _ALL)
}


def endpoint_for(path: str, sent: Mapping[str, str]) -> Endpoint:
    """The endpoint that a question of `path` is for: `/futures/data/` serves both futures markets.

    COIN-M names a pair where USD-M names a symbol, and where both name pairs, COIN-M's end in USD.
    """
    usdm, *coinm = ENDPOINTS[path]
    if not coinm or "symbol" in sent:
        return usdm
    pair = sent.get("pair", "")
    return coinm[0] if pair.upper().endswith("USD") or (pair and usdm.parameter("pair") is None) else usdm
