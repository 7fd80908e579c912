"""Assumptions about `startTime` and `endTime`."""

import re
from collections.abc import Mapping
from typing import ClassVar

from mdcache.exchange.fact_kinds import ACCEPTED, FactValue
from mdcache.exchange.markets import Market
from mdcache.verify.assumption import Assumption
from mdcache.verify.exchange_time import MINUTE_MS
from mdcache.verify.findings import NotMeasured, Seen
from mdcache.verify.session import MarketSession

_DAY_MS = 86_400_000
_FEW = 3
_EACH = {Market.SPOT: 2, Market.USDM: 1, Market.COINM: 1}
_DAYS = re.compile(r"(\d+) days")
_TIMES = "A page of history requested by these rules would contain other candles than expected."


class EndsInclusive(Assumption):
    """Both ends belong to the span."""

    facts = ("start_inclusive", "end_inclusive")
    assumed = "`startTime` and `endTime` are both inclusive, and apply to open times."
    how = "Ask for three minutes from the first's open time to the last's."
    follows = "The first or the last candle of each page would be missing, and be read as a hole."
    costs: ClassVar[Mapping[Market, int]] = _EACH

    async def measure(self, session: MarketSession) -> Seen:
        """Ask for three minutes that have been closed for long."""
        end_ms = session.settled_ms
        start_ms = end_ms - 2 * MINUTE_MS
        opens = (await session.klines({"startTime": start_ms, "endTime": end_ms, "limit": 99})).opens()
        if start_ms + MINUTE_MS not in opens:
            raise NotMeasured("the candle between the ends is missing")
        return {"start_inclusive": start_ms in opens, "end_inclusive": end_ms in opens}


class StartOnly(Assumption):
    """Only `startTime`."""

    facts = ("start_only_rows",)
    assumed = "With only `startTime`: the oldest candles from there, and on COIN-M the newest of 200 days from there."
    how = "Ask for three minutes from a minute that ended long ago."
    follows = _TIMES
    costs: ClassVar[Mapping[Market, int]] = _EACH

    async def measure(self, session: MarketSession) -> Seen:
        """Ask from half an hour ago."""
        start_ms = session.settled_ms - 30 * MINUTE_MS
        opens = (await session.klines({"startTime": start_ms, "limit": _FEW})).opens()
        return {"start_only_rows": _which(opens, start_ms, int(session.time.now_ms()))}


class EndOnly(Assumption):
    """Only `endTime`."""

    facts = ("end_only_rows",)
    assumed = "With only `endTime`: the newest candles up to there."
    how = "Ask for a hundred minutes up to one that ended long ago."
    follows = _TIMES
    costs: ClassVar[Mapping[Market, int]] = {Market.SPOT: 2, Market.USDM: 2, Market.COINM: 2}

    async def measure(self, session: MarketSession) -> Seen:
        """Ask up to ten minutes ago; a hundred candles also show what that many weigh."""
        end_ms, count = session.settled_ms, 100
        opens = (await session.klines({"endTime": end_ms, "limit": count})).opens()
        if not opens:
            raise NotMeasured("no candle came")
        newest = opens[-1] in {end_ms, end_ms - MINUTE_MS}
        return {"end_only_rows": "newest" if newest else "oldest"}


class BothEnds(Assumption):
    """Both ends, with more candles between them than `limit`."""

    facts = ("both_ends_rows",)
    assumed = "With both ends and more candles between them than `limit`: the oldest, and on COIN-M the newest."
    how = "Ask for three of the ten minutes between two ends."
    follows = _TIMES
    costs: ClassVar[Mapping[Market, int]] = _EACH

    async def measure(self, session: MarketSession) -> Seen:
        """Ask for three of ten minutes."""
        end_ms = session.settled_ms
        start_ms = end_ms - 10 * MINUTE_MS
        opens = (await session.klines({"startTime": start_ms, "endTime": end_ms, "limit": _FEW})).opens()
        return {"both_ends_rows": _which(opens, start_ms, end_ms)}


class FutureEnds(Assumption):
    """Spans that end, or lie, in the future."""

    facts = ("future_end", "future_range")
    assumed = "A span may end in the future, or lie in it altogether: then it has no candles."
    how = "Ask from three minutes ago until tomorrow, and from tomorrow on for a day."
    follows = "The daemon would answer questions that Binance refuses."
    costs: ClassVar[Mapping[Market, int]] = {Market.SPOT: 4, Market.USDM: 2, Market.COINM: 2}

    async def measure(self, session: MarketSession) -> Seen:
        """Ask for both spans."""
        now_ms = int(session.time.now_ms())
        tomorrow_ms = now_ms + _DAY_MS
        end = await session.klines({"startTime": now_ms - 3 * MINUTE_MS, "endTime": tomorrow_ms, "limit": 5})
        span = await session.klines({"startTime": tomorrow_ms, "endTime": tomorrow_ms + _DAY_MS, "limit": 5})
        return {"future_end": end.said(), "future_range": span.said()}


class LongestRange(Assumption):
    """The longest span."""

    facts = ("range_days_cap", "answer_to_over_range")
    assumed = "A span has at most 200 days on COIN-M, which refuses a longer one; elsewhere there is no limit."
    how = "Ask for one day of a span of 400 days."
    follows = "Questions that Binance answers would be refused by the daemon, or the other way round."
    costs: ClassVar[Mapping[Market, int]] = _EACH

    async def measure(self, session: MarketSession) -> Seen:
        """Ask for one day of 400."""
        now_ms = int(session.time.now_ms())
        changes = {"interval": "1d", "startTime": now_ms - 400 * _DAY_MS, "endTime": now_ms, "limit": 1}
        said = (await session.klines(changes)).said()
        days = _DAYS.search(said)
        cap: FactValue | NotMeasured = NotMeasured(f"refused, without a number of days: {said}")
        if said == ACCEPTED:
            cap = 0
        elif days is not None:
            cap = int(days[1])
        return {"range_days_cap": cap, "answer_to_over_range": said}


def _which(opens: list[int], start_ms: int, end_ms: int) -> FactValue | NotMeasured:
    """Return at which end of a span the candles are; the ends may be exclusive."""
    if opens and opens[0] - start_ms in {0, MINUTE_MS}:
        return "oldest"
    if opens and 0 <= end_ms - opens[-1] <= 2 * MINUTE_MS:
        return "newest"
    return NotMeasured("the candles are at neither end of the span" if opens else "no candle came")
