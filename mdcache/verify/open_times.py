"""Assumptions about how open and close times are printed, and where candles begin."""

from collections.abc import Mapping
from typing import ClassVar

from mdcache.exchange.markets import Market
from mdcache.verify.assumption import Assumption
from mdcache.verify.findings import NotMeasured, Seen
from mdcache.verify.session import MarketSession

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_MICROS = (("X-MBX-TIME-UNIT", "MICROSECOND"),)
_LAST_DIGITS = 1_000_000
_MINUTE = 60_000_000  # in microseconds
_CLOSE = 6  # its column


class TimeZoneOfDays(Assumption):
    """Whether `timeZone` moves open times."""

    facts = ("time_zone_moves_opens",)
    assumed = "With `timeZone=8`, days open at 16:00 UTC, printed in UTC."
    how = "Ask for the newest day."
    follows = "Days of other time zones would be filed under wrong open times."
    costs: ClassVar[Mapping[Market, int]] = {Market.SPOT: 2}

    async def measure(self, session: MarketSession) -> Seen:
        """Ask for the newest day of the zone."""
        opens = (await session.klines({"interval": "1d", "timeZone": "8"})).opens()
        if not opens:
            raise NotMeasured("no candle came")
        return {"time_zone_moves_opens": opens[0] % _DAY_MS == 16 * _HOUR_MS}


class Microseconds(Assumption):
    """Microseconds on spot."""

    facts = ("micros_start_accepted", "micros_close")
    assumed = "`startTime` may be in microseconds; with `X-MBX-TIME-UNIT`, close times end in 999999."
    how = "Ask for one of three minutes that ended long ago, in microseconds both ways."
    follows = "Answers in microseconds would be cut out of the wrong place, or not be byte for byte Binance's."
    costs: ClassVar[Mapping[Market, int]] = {Market.SPOT: 2}

    async def measure(self, session: MarketSession) -> Seen:
        """Ask for one minute."""
        start = session.settled_ms * 1000
        end = start + 3 * _MINUTE
        reply = await session.klines({"startTime": start, "endTime": end}, headers=_MICROS)
        if reply.head.status >= 400:  # noqa: PLR2004 - a refusal of any kind
            return {"micros_start_accepted": False}
        rows = reply.rows()
        digits = f"{int(rows[0][_CLOSE]) % _LAST_DIGITS:06d}" if rows else ""
        return {
            "micros_start_accepted": bool(rows) and start <= rows[0][0] <= end,
            "micros_close": digits or NotMeasured("no candle came"),
        }


class ThreeDayPhase(Assumption):
    """The grid of `3d`."""

    facts = ("three_day_phases",)
    assumed = (
        "`3d` opens on a grid that differs by symbol: day number mod 3 is read from printed rows, and not assumed."
    )
    how = "Ask for the newest `3d` candle, on spot of SOLUSDT, whose days are not those of most symbols."
    follows = "Nothing: it is the daemon's rule already. It is written down for comparison."
    costs: ClassVar[Mapping[Market, int]] = {Market.SPOT: 2, Market.USDM: 1, Market.COINM: 1}

    async def measure(self, session: MarketSession) -> Seen:
        """Ask for the newest one."""
        name = "SOLUSDT" if session.market is Market.SPOT else session.symbol
        if session.market is Market.SPOT:  # other paths than `klines`, so that their weights are measured, too
            reply = await session.klines({"symbol": name, "interval": "3d"}, kind="uiKlines")
        else:
            reply = await session.klines({"interval": "3d"}, kind="continuousKlines")
        opens = reply.opens()
        if not opens or opens[0] % _DAY_MS:
            raise NotMeasured("no candle came that opens with a day")
        return {"three_day_phases": {name: opens[0] // _DAY_MS % 3}}
