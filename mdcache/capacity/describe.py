"""Describe a plan in words."""

import math
from collections.abc import Iterator

from mdcache.capacity.plan import CapacityPlan
from mdcache.capacity.refreshes import Source
from mdcache.exchange.intervals import INTERVALS


def describe(found: CapacityPlan) -> list[str]:
    """Describe the plan for people, line by line."""
    asked = found.demand
    intervals, market = ", ".join(asked.intervals), asked.market
    who = "consumer asks" if asked.consumers == 1 else "consumers ask"
    polling = (
        f"{asked.consumers} {who} for all of it every {asked.every_s:g} s"
        if asked.consumers
        else "somebody always asks"
    )
    return [
        f"{asked.symbols} symbols x {len(asked.intervals)} intervals ({intervals}) on {market}: {asked.series} series",
        f"{polling}; {asked.rows} rows",
        _sources(found),
        "",
        "weight a minute",
        *_weights(found),
        f"once, to fill: weight {found.fill_weight:,} in {found.fill_calls:,} pages, {_fill_time(found)}",
        f"in Redis, where replicas share one: {found.redis_bytes / 1e6:,.1f} MB",
        "",
        *_verdict(found),
    ]


def _sources(found: CapacityPlan) -> str:
    """Return what the plan counts on."""
    if found.topics:
        connections = "1 connection" if found.connections == 1 else f"{found.connections} connections"
        return f"streams feed the open candles (MDCACHE_STREAMS=auto): {found.topics:,} topics on {connections}"
    derived = [name for name, source in found.sources.items() if source is Source.DERIVED]
    said = f"; {', '.join(derived)} derived from shorter candles (MDCACHE_DERIVE=true)" if derived else ""
    return f"no stream feeds the open candles{said}"


def _weights(found: CapacityPlan) -> Iterator[str]:
    if not found.topics:
        yield _weight_line("tails, at their TTLs", found.tails)
    derived = Source.DERIVED in found.sources.values()
    earlier = not (found.topics or derived)
    yield _weight_line("closes, which bring reads forward" if earlier else "closes", found.closes)
    if found.topics:
        yield _weight_line("to settle closed candles", found.settling)
    yield _weight_line("list of symbols, clock", found.upkeep)
    yield _weight_line("together", found.weight)
    if found.without_streams is not None:
        yield _weight_line("where streams are blocked", found.without_streams)
    limit = f"   of {found.limit:,}, if Binance's limit is what it was in autumn 2026"
    yield _weight_line("may be used", found.usable) + limit
    if found.direct is not None:
        yield _weight_line("without mdcache", found.direct)


def _weight_line(what: str, weight: float) -> str:
    return f"  {what:<36}{weight:>10,.1f}"


def _fill_time(found: CapacityPlan) -> str:
    left = found.usable - found.weight if found.fits else found.usable
    minutes = math.ceil(found.fill_weight / max(1.0, left))
    return "within a minute" if minutes == 1 else f"over {minutes} minutes"


def _verdict(found: CapacityPlan) -> Iterator[str]:
    if found.fits:
        yield f"It fits, with {math.floor(100 * (1 - found.weight / found.usable))}% to spare."
        if not found.fits_without_streams:
            yield "It does not fit where streams are blocked: see what would with MDCACHE_STREAMS=off."
        elif not found.fits_at_worst:
            yield f"But only while {_condition(found)}: at worst they cost {found.worst:,.0f}."
        if found.least_ttl_s is not None:
            yield f"The smallest TTL for all intervals that fits is {found.least_ttl_s:g} s."
        return
    yield f"It does not fit: {found.weight / found.usable:.1f} times what may be used."
    yield "A minute's weight would be spent before its end; until the next, tails grow older, marked as stale,"
    yield "up to MDCACHE_MAX_STALE_S, and then questions are refused with 503."
    remedies = list(_remedies(found))
    yield "Any of these would make it fit:" if remedies else "No TTL and no share would."
    yield from remedies


def _condition(found: CapacityPlan) -> str:
    return "most symbols are traded all the time" if found.topics else "the consumers stay spread evenly"


def _remedies(found: CapacityPlan) -> Iterator[str]:
    if found.least_ttl_s is not None:
        yield f"  MDCACHE_OPEN_CANDLE_TTL_S={found.least_ttl_s:g}   for all intervals: no MDCACHE_OPEN_CANDLE_TTLS"
    if found.slower_ttl_s is not None:
        polled = (name for name, source in found.sources.items() if source is Source.POLLED)
        shortest = min(polled, key=lambda name: INTERVALS[name].length_ms)
        yield f"  a TTL of {found.slower_ttl_s:g} s for all but {shortest}, by MDCACHE_OPEN_CANDLE_TTLS"
    if found.share is not None:
        yield f"  MDCACHE_WEIGHT_SHARE={found.share:g}   if nothing else on the address needs the rest"
