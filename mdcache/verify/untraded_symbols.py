"""Assumptions about symbols that are not traded any more."""

from collections.abc import Mapping
from typing import ClassVar

from mdcache.exchange.fact_kinds import ACCEPTED
from mdcache.exchange.markets import Market
from mdcache.verify.assumption import Assumption
from mdcache.verify.exchange_time import MINUTE_MS
from mdcache.verify.findings import NotMeasured, Seen
from mdcache.verify.session import MarketSession

_TRIES = 3
_NEW_MS = 5 * MINUTE_MS


class UntradedSymbols(Assumption):
    """Whether a symbol that is not traded any more goes on printing candles."""

    facts = ("untraded_symbol_rows",)
    assumed = "A listed symbol that is not traded (status not TRADING) has no new candles, and keeps the old ones."
    how = "Ask for the newest candle of such a symbol; if there is none (COIN-M shows 200 days), of another."
    follows = "Nothing wrong is served: new rows are read like any others. Such series go on costing reads."
    costs: ClassVar[Mapping[Market, int]] = {Market.SPOT: 2, Market.USDM: 1, Market.COINM: 1}

    async def measure(self, session: MarketSession) -> Seen:
        """Ask for the newest candle of one."""
        symbols = await session.symbols()
        names = sorted(symbols.names - symbols.trading)[:_TRIES]
        for number, name in enumerate(names):
            reply = await session.klines({"symbol": name}, extra=number > 0)
            if reply.said() != ACCEPTED:
                return {"untraded_symbol_rows": "refused"}
            opens = reply.opens()
            if opens:
                goes_on = opens[-1] > session.time.now_ms() - _NEW_MS
                return {"untraded_symbol_rows": "go_on" if goes_on else "end"}
        if names and session.market is Market.COINM:  # what ended before its 200 days is not shown
            return {"untraded_symbol_rows": "end"}
        raise NotMeasured("no listed symbol has stopped trading")
