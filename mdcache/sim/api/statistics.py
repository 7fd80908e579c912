"""The statistics of both futures markets: /futures/data/*.

Rows stand at multiples of the period, each about what was known by then; they reach back thirty days.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta

from mdcache.sim.api.facts import Facts
from mdcache.sim.api.funding import interest, wave
from mdcache.sim.api.query import DataQuery
from mdcache.sim.api.refusals import ApiRefusal, invalid
from mdcache.sim.api.routes import Endpoint
from mdcache.sim.config import DAY_MS, SymbolSpec
from mdcache.sim.prices.grid import LENGTHS_MS
from mdcache.sim.prices.node import DRAW, Node
from mdcache.sim.prices.printing import Json, decimals
from mdcache.sim.prices.units import SAMPLE_DECIMALS, Units

PERIODS = ("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d")  # the pages of /futures/data
CONTRACTS = frozenset({"PERPETUAL", "CURRENT_QUARTER", "NEXT_QUARTER"})
_ALL = "ALL"  # contractType of openInterestHist and takerBuySellVol on coinm
_LOOK_BACK_MS = 30 * DAY_MS
_TOO_OLD = ApiRefusal(-1130, "parameter 'startTime' is invalid.")
_YEAR_MS = 365 * DAY_MS
_DELIVERY_MS = 8 * 3_600_000  # contracts end at 08:00 UTC
_FRIDAY = 5
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_RATIO = decimals(4, 4)
_SAMPLE_UNIT = 10**SAMPLE_DECIMALS

Row = Callable[[Facts, DataQuery, int, int], Json]


def rows(facts: Facts, asked: DataQuery, at_ms: int) -> list[Json] | ApiRefusal:
    """The rows asked for: the newest, or the oldest from a start on."""
    if asked.period not in PERIODS:
        return invalid("period")
    wants_all = asked.contract_type == _ALL and asked.endpoint in {"openInterestHist", "takerBuySellVol"}
    if asked.contract_type and not wants_all and asked.contract_type not in CONTRACTS:
        return invalid("contractType")
    if asked.start_ms is not None and asked.start_ms < at_ms - _LOOK_BACK_MS:
        return _TOO_OLD
    step_ms = LENGTHS_MS[asked.period]
    specs = contracts(asked)
    listed_ms = min((spec.listed_ms for spec in specs), default=at_ms + 1)
    begin_ms = max(at_ms - _LOOK_BACK_MS, listed_ms, asked.start_ms or 0)
    end_ms = at_ms if asked.end_ms is None else min(asked.end_ms, at_ms)
    times = range(-(-begin_ms // step_ms) * step_ms, end_ms + 1, step_ms)
    chosen = times[-asked.limit :] if asked.start_ms is None else times[: asked.limit]
    return [_ROWS[asked.endpoint](facts, asked, time_ms, step_ms) for time_ms in chosen]


def contracts(asked: DataQuery) -> Sequence[SymbolSpec]:
    """The contracts a question is about."""
    if asked.contract_type in {"", _ALL}:
        return asked.specs
    return [spec for spec in asked.specs if spec.contract_type == asked.contract_type]


def _interest(facts: Facts, asked: DataQuery, time_ms: int, _: int) -> Json:
    """Open interest, and its worth in dollars, or in the base asset on coinm."""
    amount = worth = 0
    for spec in contracts(asked):
        last = facts.last(spec, time_ms)
        units, held = facts.units(spec), interest(facts, spec, time_ms)
        amount += held * 10 ** (8 - units.quantity_places)
        if last is not None and units.contract_size is not None:
            worth += held * units.contract_size * 10 ** (8 + units.price_places) // last.node.close
        elif last is not None:
            worth += held * last.node.close * 10**8 // 10 ** (units.quantity_places + units.price_places)
    printed = decimals(8, 8)
    sums: Json = {"sumOpenInterest": printed(amount), "sumOpenInterestValue": printed(worth)}
    if asked.market == "coinm":
        return {"pair": asked.name, "contractType": asked.contract_type, **sums, "timestamp": time_ms}
    supply = {"CMCCirculatingSupply": printed(20 * amount)}
    return {"symbol": asked.name, **sums, **supply, "timestamp": time_ms}


def _ratio(facts: Facts, asked: DataQuery, time_ms: int, _: int) -> Json:
    """How many, or how much, is long: 35 to 65 %."""
    long = 3_500 + 3_000 * wave(facts, asked.specs[0], asked.endpoint, time_ms) // DRAW
    short = 10_000 - long
    what = "Position" if asked.market == "coinm" and asked.endpoint == "topLongShortPositionRatio" else "Account"
    name: Json = {"pair": asked.specs[0].pair} if asked.market == "coinm" else {"symbol": asked.name}
    return name | {
        "longShortRatio": _RATIO(10_000 * long // short),
        f"long{what}": _RATIO(long),
        f"short{what}": _RATIO(short),
        "timestamp": time_ms,
    }


def _traded(facts: Facts, spec: SymbolSpec, time_ms: int, step_ms: int) -> tuple[Node, Units]:
    """What was traded in the period before a moment."""
    return facts.traded(spec, time_ms - step_ms, time_ms, time_ms), facts.units(spec)


def _taker_ratio(facts: Facts, asked: DataQuery, time_ms: int, step_ms: int) -> Json:
    node, units = _traded(facts, asked.specs[0], time_ms, step_ms)
    return {
        "buySellRatio": _RATIO(10_000 * node.taker // node.maker if node.maker else 0),
        "buyVol": units.quantity(node.taker),
        "sellVol": units.quantity(node.maker),
        "timestamp": time_ms,
    }


def _taker_volumes(facts: Facts, asked: DataQuery, time_ms: int, step_ms: int) -> Json:
    found = [_traded(facts, spec, time_ms, step_ms) for spec in contracts(asked)]
    nodes, units = [node for node, _ in found], found[0][1]
    return {
        "pair": asked.name,
        "contractType": asked.contract_type,
        "takerBuyVol": units.quantity(sum(node.taker for node in nodes)),
        "takerSellVol": units.quantity(sum(node.maker for node in nodes)),
        "takerBuyVolValue": units.turnover(sum(node.taker_quote for node in nodes)),
        "takerSellVolValue": units.turnover(sum(node.maker_quote for node in nodes)),
        "timestamp": time_ms,
    }


def _basis(facts: Facts, asked: DataQuery, time_ms: int, _: int) -> Json:
    """How far the contract's price is from its index."""
    spec = contracts(asked)[0]
    units, last = facts.units(spec), facts.last(spec, time_ms)
    index = facts.sample(spec, "index", time_ms)
    price = (last.node.close if last else 0) * 10 ** (SAMPLE_DECIMALS - units.price_places)
    rate = 10_000 * (price - index) // index if index else 0
    yearly = ""
    if spec.delivery_ms is not None and spec.delivery_ms > time_ms:
        yearly = _RATIO(rate * _YEAR_MS // (spec.delivery_ms - time_ms))
    return {
        "indexPrice": units.sample(index),
        "contractType": asked.contract_type,
        "basisRate": _RATIO(rate),
        "futuresPrice": units.price(last.node.close if last else 0),
        "annualizedBasisRate": yearly,
        "basis": units.sample(price - index),
        "pair": asked.name,
        "timestamp": time_ms,
    }


_ROWS: Mapping[Endpoint, Row] = {
    "openInterestHist": _interest,
    "topLongShortAccountRatio": _ratio,
    "topLongShortPositionRatio": _ratio,
    "globalLongShortAccountRatio": _ratio,
    "takerlongshortRatio": _taker_ratio,
    "takerBuySellVol": _taker_volumes,
    "basis": _basis,
}


def delivery_prices(facts: Facts, asked: DataQuery, at_ms: int) -> list[Json]:
    """GET delivery-price: the index at the ends of the quarters since the pair's first contract, newest first."""
    spec = min(asked.specs, key=lambda one: one.listed_ms)
    found: list[Json] = []
    for day in range(at_ms // DAY_MS, spec.listed_ms // DAY_MS, -1):
        delivered_ms = day * DAY_MS + _DELIVERY_MS
        if _ends_quarter(date.fromordinal(day + _EPOCH_ORDINAL)) and delivered_ms <= at_ms:
            price = round(facts.sample(spec, "index", delivered_ms) / _SAMPLE_UNIT, spec.price_decimals)
            found.append({"deliveryTime": delivered_ms, "deliveryPrice": price})
    return found


def _ends_quarter(day: date) -> bool:
    """Whether a day is the last Friday of March, June, September or December."""
    return day.isoweekday() == _FRIDAY and day.month % 3 == 0 and (day + timedelta(7)).month != day.month
