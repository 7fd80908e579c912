"""Assumptions about how many candles one question may have."""

from collections.abc import Mapping
from typing import ClassVar

from mdcache.exchange.fact_kinds import ACCEPTED
from mdcache.exchange.markets import Market
from mdcache.verify.assumption import FUTURES, Assumption
from mdcache.verify.findings import NotMeasured, Seen
from mdcache.verify.session import MarketSession

_FAR_OVER = 5_000
_LOWER = (1_000, 499, 99)  # the most for each lower weight


class MostCandles(Assumption):
    """The largest `limit`, and what happens over it."""

    facts = ("klines_cap", "answer_to_over_cap")
    left_out: ClassVar[frozenset[str]] = frozenset(
        {f"{market.value}.answer_to_over_cap" for market in FUTURES}
    )  # 10 each
    assumed = (
        "One question has at most 1,000 candles on spot, which cuts a larger `limit`; 1,500 on futures, which refuse."
    )
    how = "Ask for 5,000 on spot, for 1,500 on futures."
    follows = "`serve` plans its pages by the measured cap; larger ones would cost further calls, or be refused."
    costs: ClassVar[Mapping[Market, int]] = {Market.SPOT: 2, Market.USDM: 10, Market.COINM: 10}

    async def measure(self, session: MarketSession) -> Seen:
        """Ask for as many as there may be; on spot for more."""
        if session.market is Market.SPOT:
            reply = await session.klines({"limit": _FAR_OVER})
            over = reply.said()
            cap = len(reply.rows()) if over == ACCEPTED else await self._lower(session)
            return {"klines_cap": cap, "answer_to_over_cap": over}
        reply = await session.klines({"limit": session.endpoint().max_limit})
        return {"klines_cap": len(reply.rows()) if reply.said() == ACCEPTED else await self._lower(session)}

    @staticmethod
    async def _lower(session: MarketSession) -> int:
        """Return how many candles there are for the largest lower `limit` that is not refused."""
        for limit in _LOWER:
            reply = await session.klines({"limit": limit}, extra=True)
            if reply.said() == ACCEPTED:
                return len(reply.rows())
        raise NotMeasured(f"even limit={_LOWER[-1]} is refused")
