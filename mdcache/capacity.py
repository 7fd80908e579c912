"""Capacity planning: the weight that a set of candle series will cost, for `mdcache check --plan`. Pure.

It uses the daemon's own weight tables, and counts polling: tail reads at the TTLs in effect, closes, the list of
symbols, the clock. Anything else (snapshots, history, re-reads of replies that show less than is known, retries) comes
on top.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from mdcache.exchange.intervals import INTERVALS, SPOT_ONLY
from mdcache.exchange.markets import KLINE_ENDPOINTS, KlineEndpoint, Market
from mdcache.exchange.rate_limits import DEFAULT_LIMIT
from mdcache.exchange.weights import EXCHANGE_INFO, TIME, klines_weight, page_limit, tail_limit
from mdcache.upstream.budget import ADDRESS_CAP, EDGE_MS, MINUTE_MS
from mdcache.upstream.exchange_clock import AGAIN_S, FIRST_READS

# For a plan that gives only a number: those that bots use most come first.
COMMON_INTERVALS = ("1m", "5m", "15m", "1h", "4h", "1d", "30m", "2h", "3m", "12h", "6h", "8h", "1w", "3d", "1M")

_LONGEST_TTL_S = 3_600.0  # a longer one is not suggested
_REDIS_ROW_BYTES = 54  # the highest measured, including keys and tail: docs/replicas.md
_STEP_S = 0.1  # suggested TTLs are rounded up to this
_MINUTE_S = 60.0


class InvalidPlan(ValueError):
    """The plan can't be parsed; the text says what would be right."""


@dataclass(frozen=True, slots=True)
class Demand:
    """The load: every series of `symbols` x `intervals`, `rows` newest rows each time.

    `consumers` programs ask for all of it every `every_s` seconds, spread evenly; 0: without a pause.
    """

    market: Market
    symbols: int
    intervals: tuple[str, ...]
    consumers: int = 0
    every_s: float = 5.0
    rows: int = 500

    @property
    def series(self) -> int:
        """Return the number of series."""
        return self.symbols * len(self.intervals)

    @property
    def spacing_s(self) -> float:
        """Return the seconds from one question for a series to the next; 0 if there is no pause."""
        return self.every_s / self.consumers if self.consumers else 0.0


@dataclass(frozen=True, slots=True)
class PlanTerms:
    """The settings that determine the cost.

    `ttls_s`: by interval; `share` of the limit (0 to 1); `exchange_info_s`: from one read of the symbols to the next.
    """

    ttls_s: Mapping[str, float]
    share: float
    exchange_info_s: float


@dataclass(frozen=True, slots=True)
class CapacityPlan:
    """The outcome. All weights are per minute, except `fill_weight`, which is spent once.

    (On coinm, whose windows end at 200 days, a series of `1d` or longer may take a page more, or a cheaper one.)
    `worst`: the same with the worst timing of the consumers' questions. `direct`: without mdcache.
    `usable`: what may be spent, `share` x `limit` and never over nine tenths of the limit.
    `least_ttl_s`, `share`, `slower_ttl_s`: the smallest TTL for all intervals, the smallest share, and the smallest
    TTL for all but the shortest interval that would fit; `None` if none does.
    """

    demand: Demand
    tails: float
    closes: float
    upkeep: float
    worst: float
    direct: float | None
    limit: int
    usable: int
    fits: bool
    fits_at_worst: bool
    fill_calls: int
    fill_weight: int
    least_ttl_s: float | None
    share: float | None
    slower_ttl_s: float | None

    @property
    def weight(self) -> float:
        """Return the total weight per minute."""
        return self.tails + self.closes + self.upkeep

    @property
    def redis_bytes(self) -> int:
        """Return the memory that these rows need in Redis, if replicas share one."""
        return self.demand.series * self.demand.rows * _REDIS_ROW_BYTES


def demand(text: str, market: Market, *, consumers: int = 0, every_s: float = 5.0, rows: int = 500) -> Demand:
    """Parse `20x6` (the six usual intervals) or `20x1m,5m,1h`; raise `InvalidPlan` for anything else."""
    found = re.fullmatch(r"(\d{1,6})[x*×](\S+)", text.strip())
    if found is None or int(found[1]) < 1:
        raise InvalidPlan(f"{text!r}: symbols x intervals, such as 20x6 or 20x1m,5m,1h")
    wanted = found[2]
    if wanted.isdecimal():
        if not 1 <= int(wanted) <= len(COMMON_INTERVALS):
            raise InvalidPlan(f"{wanted} intervals: 1 to {len(COMMON_INTERVALS)}, or their names")
        intervals = COMMON_INTERVALS[: int(wanted)]
    else:
        intervals = tuple(dict.fromkeys(wanted.split(",")))
    allowed = [name for name in INTERVALS if market is Market.SPOT or name not in SPOT_ONLY]
    strange = [name for name in intervals if name not in allowed]
    if strange:
        raise InvalidPlan(f"{', '.join(strange)}: the intervals of {market.value} are {', '.join(allowed)}")
    most = _rule(market).max_limit
    if not 1 <= rows <= most:
        raise InvalidPlan(f"{rows} rows: 1 to {most} in one question on {market.value}; `mdcache warm` reads histories")
    return Demand(market, int(found[1]), intervals, consumers, every_s, rows)


def plan(asked: Demand, terms: PlanTerms) -> CapacityPlan:
    """Return what `asked` costs under `terms`, whether it fits, and what would make it fit; raise `InvalidPlan`."""
    if not asked.consumers and any(terms.ttls_s[name] <= 0 for name in asked.intervals):
        raise InvalidPlan("a TTL of 0 makes every question a read: say how many consumers ask, and how often")
    rule = _rule(asked.market)
    limit = DEFAULT_LIMIT[asked.market.family]
    usable = _usable(limit, terms.share)
    tails, closes = _tails(asked, terms.ttls_s)
    upkeep = _upkeep(asked.market, terms)
    weight = tails + closes + upkeep
    polls = asked.series * _MINUTE_S / asked.spacing_s if asked.consumers else None
    worst = weight if polls is None else upkeep + _at_worst(asked, terms, polls * _tail_weight(rule))
    fits = _fits(weight, usable)
    page = klines_weight(rule, page_limit(rule, asked.rows))
    return CapacityPlan(
        demand=asked,
        tails=tails,
        closes=closes,
        upkeep=upkeep,
        worst=worst,
        direct=None if polls is None else polls * klines_weight(rule, asked.rows),
        limit=limit,
        usable=usable,
        fits=fits,
        fits_at_worst=_fits(worst, usable),
        fill_calls=asked.series,
        fill_weight=asked.series * page + EXCHANGE_INFO[asked.market.family] + FIRST_READS * TIME,
        least_ttl_s=_least_ttl_s(asked, upkeep, usable, lambda ttl_s: dict.fromkeys(asked.intervals, ttl_s)),
        share=_least_share(weight, limit),
        slower_ttl_s=_slower_ttl_s(asked, terms, upkeep, usable),
    )


def reads_per_minute(length_s: float, ttl_s: float, spacing_s: float) -> float:
    """Return the tail reads per minute of one series that is asked for every `spacing_s` (0: without a pause).

    The first question after a close reads; after that, the first one that finds the tail older than the TTL does.
    """
    if spacing_s <= 0:
        return math.ceil(length_s / ttl_s) * _MINUTE_S / length_s
    asked = math.ceil(round(length_s / spacing_s, 6))  # questions in one candle
    apart = math.floor(round(ttl_s / spacing_s, 6)) + 1  # every so many questions, one reads
    return min(_MINUTE_S / spacing_s, math.ceil(asked / apart) * _MINUTE_S / length_s)


def _rule(market: Market) -> KlineEndpoint:
    return KLINE_ENDPOINTS[f"{market.prefix}klines"]


def _tail_weight(rule: KlineEndpoint) -> int:
    return klines_weight(rule, tail_limit(rule, 1))


def _usable(limit: int, share: float) -> int:
    return min(int(limit * share), int(limit * ADDRESS_CAP))


def _fits(weight: float, usable: int) -> bool:
    """Return whether it fits, with what is charged to two minutes because it was sent at the end of one."""
    return weight * (1 + EDGE_MS / MINUTE_MS) <= usable


def _at_worst(asked: Demand, terms: PlanTerms, every_poll: float) -> float:
    """Return the tails' weight per minute if each question that may cost a read does, `every_poll` at most."""
    if any(terms.ttls_s[name] <= 0 for name in asked.intervals):
        return every_poll
    return min(every_poll, sum(_tails(replace(asked, consumers=0), terms.ttls_s)))


def _tails(asked: Demand, ttls_s: Mapping[str, float]) -> tuple[float, float]:
    """Return the weight per minute of refreshing all tails, and what closes add by making reads earlier."""
    weight = _tail_weight(_rule(asked.market)) * asked.symbols
    rounds = closes = 0.0
    for name in asked.intervals:
        ttl_s, spacing_s = ttls_s[name], asked.spacing_s
        apart_s = ttl_s if spacing_s <= 0 else (math.floor(round(ttl_s / spacing_s, 6)) + 1) * spacing_s
        rounds += _MINUTE_S / apart_s
        closes += max(0.0, reads_per_minute(INTERVALS[name].length_ms / 1000, ttl_s, spacing_s) - _MINUTE_S / apart_s)
    return rounds * weight, closes * weight


def _upkeep(market: Market, terms: PlanTerms) -> float:
    info = EXCHANGE_INFO[market.family] * _MINUTE_S / max(1.0, terms.exchange_info_s)
    return info + TIME * _MINUTE_S / AGAIN_S


def _least_share(weight: float, limit: int) -> float | None:
    hundredths = range(1, int(ADDRESS_CAP * 100) + 1)
    return next((n / 100 for n in hundredths if _fits(weight, _usable(limit, n / 100))), None)


def _slower_ttl_s(asked: Demand, terms: PlanTerms, upkeep: float, usable: int) -> float | None:
    shortest = min(asked.intervals, key=lambda name: INTERVALS[name].length_ms)
    if len(asked.intervals) == 1:
        return None
    kept = {shortest: terms.ttls_s[shortest]}
    return _least_ttl_s(asked, upkeep, usable, lambda ttl_s: dict.fromkeys(asked.intervals, ttl_s) | kept)


def _least_ttl_s(
    asked: Demand, upkeep: float, usable: int, ttls_s: Callable[[float], Mapping[str, float]]
) -> float | None:
    """Return the smallest TTL, in steps, with which `ttls_s` fit."""

    def fits(steps: int) -> bool:
        return _fits(sum(_tails(asked, ttls_s(steps * _STEP_S))) + upkeep, usable)

    few, many = 1, round(_LONGEST_TTL_S / _STEP_S)
    if not fits(many):
        return None
    while few < many:
        middle = (few + many) // 2
        if fits(middle):
            many = middle
        else:
            few = middle + 1
    return round(many * _STEP_S, 1)


def describe(found: CapacityPlan) -> list[str]:
    """Describe the plan for people, line by line."""
    asked = found.demand
    intervals, market = ", ".join(asked.intervals), asked.market
    polling = (
        f"{asked.consumers} consumers ask for all of it every {asked.every_s:g} s"
        if asked.consumers
        else "somebody always asks"
    )
    direct = [] if found.direct is None else [_weight_line("without mdcache", found.direct)]
    return [
        f"{asked.symbols} symbols x {len(asked.intervals)} intervals ({intervals}) on {market}: {asked.series} series",
        f"{polling}; {asked.rows} rows",
        "",
        "weight a minute",
        _weight_line("tails, at their TTLs", found.tails),
        _weight_line("closes, which bring reads forward", found.closes),
        _weight_line("list of symbols, clock", found.upkeep),
        _weight_line("together", found.weight),
        _weight_line("may be used", found.usable)
        + f"   of {found.limit:,}, if Binance's limit is what it was in autumn 2026",
        *direct,
        f"once, to fill: {found.fill_weight:,} in {found.fill_calls:,} pages, {_fill_time(found)}",
        f"in Redis, where replicas share one: {found.redis_bytes / 1e6:,.1f} MB",
        "",
        *_verdict(found),
    ]


def _weight_line(what: str, weight: float) -> str:
    return f"  {what:<36}{weight:>10,.1f}"


def _fill_time(found: CapacityPlan) -> str:
    left = found.usable - found.weight if found.fits else found.usable
    minutes = math.ceil(found.fill_weight / max(1.0, left))
    return "within a minute" if minutes == 1 else f"over {minutes} minutes"


def _verdict(found: CapacityPlan) -> list[str]:
    if found.fits:
        said = [f"It fits, with {1 - found.weight / found.usable:.0%} to spare."]
        if not found.fits_at_worst:
            said.append(f"But only while the consumers stay spread evenly: at worst they cost {found.worst:,.0f}.")
        if found.least_ttl_s is not None:
            said.append(f"The smallest TTL for all intervals that fits is {found.least_ttl_s:g} s.")
        return said
    said = [f"It does not fit: {found.weight / found.usable:.1f} times what may be used."]
    said.append("A minute's weight would be spent before its end; until the next, tails grow older, marked as stale,")
    said.append("up to MDCACHE_MAX_STALE_S, and then questions are refused with 503.")
    remedies = []
    if found.least_ttl_s is not None:
        remedies.append(f"  MDCACHE_OPEN_CANDLE_TTL_S={found.least_ttl_s:g}   and no TTLs by interval")
    if found.slower_ttl_s is not None:
        shortest = min(found.demand.intervals, key=lambda name: INTERVALS[name].length_ms)
        remedies.append(f"  a TTL of {found.slower_ttl_s:g} s for all but {shortest}, by MDCACHE_OPEN_CANDLE_TTLS")
    if found.share is not None:
        remedies.append(f"  MDCACHE_WEIGHT_SHARE={found.share:g}   if nothing else on the address needs the rest")
    return [*said, "Any of these would make it fit:" if remedies else "No TTL and no share would.", *remedies]
