"""Mark prices, funding and open interest: premiumIndex, fundingRate, fundingInfo, openInterest."""

from collections.abc import Iterator
from decimal import Decimal
from itertools import islice

from mdcache.sim.api.facts import Facts
from mdcache.sim.api.query import DataQuery
from mdcache.sim.config import SymbolSpec
from mdcache.sim.prices.node import DRAW
from mdcache.sim.prices.printing import Json, decimals

FUNDING_MS = 8 * 3_600_000  # fundingIntervalHours: 8, Get-Funding-Rate-Info page
_MINUTE_MS = 60_000
_HOUR_MS = 3_600_000
_USUAL_RATE = 10_000  # 0.0001 in 10^-8
_RATE = decimals(8, 8)
_NOTIONAL = 500  # dollars of open interest for each trade a day


def premium_index(facts: Facts, asked: DataQuery, spec: SymbolSpec, at_ms: int) -> Json:
    """Mark and index price of a contract, and the next funding if it has one."""
    units = facts.units(spec)
    body: Json = {"symbol": spec.symbol}
    if spec.market == "coinm":
        body["pair"] = spec.pair
    body |= {
        "markPrice": units.sample(facts.sample(spec, "mark", at_ms)),
        "indexPrice": units.sample(facts.sample(spec, "index", at_ms)),
        "estimatedSettlePrice": units.sample(facts.sample(spec, "index", at_ms - at_ms % _MINUTE_MS)),
    }
    if is_perpetual(spec):
        next_ms = at_ms - at_ms % FUNDING_MS + FUNDING_MS
        rate, interest = _RATE(_rate(facts, spec, next_ms)), "0.00010000"
    else:
        next_ms = 0
        rate = interest = "" if asked.market == "coinm" else "0.00000000"
    return body | {"lastFundingRate": rate, "interestRate": interest, "nextFundingTime": next_ms, "time": at_ms}


def funding_rates(facts: Facts, asked: DataQuery, at_ms: int) -> list[Json]:
    """GET fundingRate: what was paid, oldest first; the newest without a start."""
    end_ms = at_ms if asked.end_ms is None else min(asked.end_ms, at_ms)
    perpetuals = [spec for spec in asked.specs if is_perpetual(spec)]
    first_ms = min((spec.listed_ms for spec in perpetuals), default=end_ms + 1)
    begin_ms = first_ms if asked.start_ms is None else max(first_ms, asked.start_ms)
    times = range(-(-begin_ms // FUNDING_MS) * FUNDING_MS, end_ms + 1, FUNDING_MS)
    if asked.start_ms is None:
        newest = islice(_payments(facts, perpetuals[::-1], reversed(times)), asked.limit)
        return list(newest)[::-1]
    return list(islice(_payments(facts, perpetuals, iter(times)), asked.limit))


def funding_info(_: Facts, asked: DataQuery, at_ms: int) -> list[Json]:
    """GET fundingInfo: every perpetual of the market."""
    return [
        {
            "symbol": spec.symbol,
            "adjustedFundingRateCap": "0.02000000",
            "adjustedFundingRateFloor": "-0.02000000",
            "fundingIntervalHours": FUNDING_MS // _HOUR_MS,
            "disclaimer": False,
        }
        for spec in asked.specs
        if is_perpetual(spec) and spec.listed_ms <= at_ms
    ]


def open_interest(facts: Facts, asked: DataQuery, at_ms: int) -> Json:
    """GET openInterest of one contract."""
    (spec,) = asked.specs
    amount = facts.units(spec).quantity(interest(facts, spec, at_ms))
    if asked.market == "usdm":
        return {"openInterest": amount, "symbol": spec.symbol, "time": at_ms}
    return {
        "symbol": spec.symbol,
        "pair": spec.pair,
        "openInterest": amount,
        "contractType": spec.contract_type,
        "time": at_ms,
    }


def interest(facts: Facts, spec: SymbolSpec, at_ms: int) -> int:
    """A contract's open interest in the units its quantities count; it moves from hour to hour."""
    if at_ms < spec.listed_ms:
        return 0
    price = Decimal(spec.contract_size if spec.market == "coinm" else spec.price)
    mean = int(spec.trades_per_day * _NOTIONAL * 10**spec.quantity_decimals / price)
    return mean * (4 * DRAW + wave(facts, spec, "interest", at_ms)) // (5 * DRAW)


def wave(facts: Facts, spec: SymbolSpec, what: str, at_ms: int) -> int:
    """A number in [0, DRAW) that goes straight from each hour's draw to the next's."""
    hour, part = divmod(at_ms, _HOUR_MS)
    here, there = (facts.draws(1, spec.market, spec.symbol, what, one)[0] for one in (hour, hour + 1))
    return here + (there - here) * part // _HOUR_MS


def is_perpetual(spec: SymbolSpec) -> bool:
    """Whether a contract pays funding."""
    return (spec.contract_type or "PERPETUAL") == "PERPETUAL"


def _rate(facts: Facts, spec: SymbolSpec, time_ms: int) -> int:
    """The rate paid at a funding time, in 10^-8."""
    up, down = facts.draws(2, spec.market, spec.symbol, "funding", time_ms)
    return _USUAL_RATE + (up - down) // 2


def _payments(facts: Facts, specs: list[SymbolSpec], times: Iterator[int]) -> Iterator[Json]:
    for time_ms in times:
        for spec in specs:
            if spec.listed_ms <= time_ms and (spec.halted_ms is None or time_ms <= spec.halted_ms):
                yield _payment(facts, spec, time_ms)


def _payment(facts: Facts, spec: SymbolSpec, time_ms: int) -> Json:
    rate = _RATE(_rate(facts, spec, time_ms))
    if spec.market == "coinm":
        return {"symbol": spec.symbol, "fundingTime": time_ms, "fundingRate": rate}
    mark = facts.units(spec).sample(facts.sample(spec, "mark", time_ms))
    return {"symbol": spec.symbol, "fundingRate": rate, "fundingTime": time_ms, "markPrice": mark}
