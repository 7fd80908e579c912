"""Compute whether a demand fits the budget, and what would make it fit."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from mdcache.capacity.demand import Demand, InvalidPlan
from mdcache.capacity.refreshes import PlanTerms, Source, refreshes, sources
from mdcache.exchange.intervals import INTERVALS
from mdcache.exchange.markets import Market
from mdcache.exchange.rate_limits import DEFAULT_LIMIT
from mdcache.exchange.weights import EXCHANGE_INFO, TIME, klines_weight, page_limit
from mdcache.upstream.budget import ADDRESS_CAP, EDGE_MS, MINUTE_MS
from mdcache.upstream.exchange_clock import AGAIN_S, FIRST_READS
from mdcache.upstream.streams.limits import TOPICS_A_CONNECTION

_LONGEST_TTL_S = 3_600.0  # a longer one is not suggested
_REDIS_ROW_BYTES = 54  # the highest measured, including keys and tail: docs/replicas.md
_STEP_S = 0.1  # suggested TTLs are rounded up to this
_MINUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class CapacityPlan:
    """The outcome. All weights are per minute, except `fill_weight`, which is spent once.

    (On coinm, whose windows end at 200 days, a series of `1d` or longer may take a page more, or a cheaper one.)
    `sources`: what keeps each interval fresh; `topics` and `connections`: of the streams that this takes.
    `tails`, `closes`, `settling`: of candles; `upkeep`: of the list of symbols and the clock. `worst`: the same with
    the worst timing of the consumers' questions, and with symbols that are seldom traded, of which streams prove
    little. `direct`: without mdcache. `without_streams`: with mdcache, but where streams are blocked; `None` if the
    plan counts on none.
    `usable`: what may be spent, `share` x `limit` and never over nine tenths of the limit.
    `least_ttl_s`, `share`, `slower_ttl_s`: the smallest TTL for all intervals, the smallest share, and the smallest
    TTL for all but the shortest interval that would fit; `None` if none does, or no TTL matters.
    """

    demand: Demand
    sources: Mapping[str, Source]
    topics: int
    connections: int
    tails: float
    closes: float
    settling: float
    upkeep: float
    worst: float
    direct: float | None
    without_streams: float | None
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
        return self.tails + self.closes + self.settling + self.upkeep

    @property
    def fits_without_streams(self) -> bool:
        """Return whether it fits where streams are blocked, too."""
        return self.fits if self.without_streams is None else _fits(self.without_streams, self.usable)

    @property
    def redis_bytes(self) -> int:
        """Return the memory that these rows need in Redis, if replicas share one."""
        return self.demand.series * self.demand.rows * _REDIS_ROW_BYTES


def plan(asked: Demand, terms: PlanTerms) -> CapacityPlan:
    """Return what `asked` costs under `terms`, whether it fits, and what would make it fit; raise `InvalidPlan`."""
    fed_by = sources(asked, terms)
    if not asked.consumers and any(terms.ttls_s[name] <= 0 for name in asked.intervals):
        raise InvalidPlan("with a TTL of 0 every question is a read: give --consumers and --every")
    limit = DEFAULT_LIMIT[asked.market.family]
    usable = _usable(limit, terms.share)
    candles, upkeep = refreshes(asked, terms), _upkeep(asked.market, terms)
    weight = candles.weight + upkeep
    worst = upkeep + _at_worst(asked, terms)
    topics = asked.series + 1 if Source.STREAM in fed_by.values() else 0  # and that of what was traded
    return CapacityPlan(
        demand=asked,
        sources=fed_by,
        topics=topics,
        connections=-(-topics // TOPICS_A_CONNECTION),
        tails=candles.tails,
        closes=candles.closes,
        settling=candles.settling,
        upkeep=upkeep,
        worst=worst,
        direct=None if asked.questions is None else asked.questions * klines_weight(asked.rule, asked.rows),
        without_streams=refreshes(asked, replace(terms, streams=False)).weight + upkeep if topics else None,
        limit=limit,
        usable=usable,
        fits=_fits(weight, usable),
        fits_at_worst=_fits(worst, usable),
        fill_calls=asked.series,
        fill_weight=asked.series * klines_weight(asked.rule, page_limit(asked.rule, asked.rows))
        + EXCHANGE_INFO[asked.market.family]
        + FIRST_READS * TIME,
        least_ttl_s=_least_ttl_s(asked, terms, upkeep, lambda ttl_s: dict.fromkeys(asked.intervals, ttl_s)),
        share=_least_share(weight, limit),
        slower_ttl_s=_slower_ttl_s(asked, terms, upkeep),
    )


def _polled(fed_by: Mapping[str, Source]) -> list[str]:
    """Return the intervals whose TTLs matter, the shortest first."""
    return sorted(
        (name for name, source in fed_by.items() if source is Source.POLLED), key=lambda name: INTERVALS[name].length_ms
    )


def _usable(limit: int, share: float) -> int:
    return min(int(limit * share), int(limit * ADDRESS_CAP))


def _fits(weight: float, usable: int) -> bool:
    """Return whether it fits, with what is charged to two minutes because it was sent at the end of one."""
    return weight * (1 + EDGE_MS / MINUTE_MS) <= usable


def _at_worst(asked: Demand, terms: PlanTerms) -> float:
    """Return the candles' weight per minute if each question that may cost a read does."""
    fed = Source.STREAM in sources(asked, terms).values()
    # what is seldom traded may cost a read each TTL; and no stream feeds what is seldom asked for
    terms = replace(terms, streams=False, derive=terms.derive and not fed)
    every_question = math.inf if asked.questions is None else asked.questions * asked.tail_weight
    if any(terms.ttls_s[name] <= 0 for name in _polled(sources(asked, terms))):
        return every_question
    return min(every_question, refreshes(replace(asked, consumers=0), terms).weight)


def _upkeep(market: Market, terms: PlanTerms) -> float:
    info = EXCHANGE_INFO[market.family] * _MINUTE_S / max(1.0, terms.exchange_info_s)
    return info + TIME * _MINUTE_S / AGAIN_S


def _least_share(weight: float, limit: int) -> float | None:
    hundredths = range(1, int(ADDRESS_CAP * 100) + 1)
    return next((n / 100 for n in hundredths if _fits(weight, _usable(limit, n / 100))), None)


def _slower_ttl_s(asked: Demand, terms: PlanTerms, upkeep: float) -> float | None:
    polled = _polled(sources(asked, terms))
    if not polled[1:]:
        return None
    kept = {polled[0]: terms.ttls_s[polled[0]]}
    return _least_ttl_s(asked, terms, upkeep, lambda ttl_s: dict.fromkeys(asked.intervals, ttl_s) | kept)


def _least_ttl_s(
    asked: Demand, terms: PlanTerms, upkeep: float, ttls_s: Callable[[float], Mapping[str, float]]
) -> float | None:
    """Return the smallest TTL, in steps, with which `ttls_s` fit."""
    usable = _usable(DEFAULT_LIMIT[asked.market.family], terms.share)

    def fits(steps: int) -> bool:
        under = replace(terms, ttls_s=ttls_s(steps * _STEP_S))
        return _fits(refreshes(asked, under).weight + upkeep, usable)

    few, many = 1, round(_LONGEST_TTL_S / _STEP_S)
    if not _polled(sources(asked, terms)) or not fits(many):
        return None
    while few < many:
        middle = (few + many) // 2
        if fits(middle):
            many = middle
        else:
            few = middle + 1
    return round(many * _STEP_S, 1)
