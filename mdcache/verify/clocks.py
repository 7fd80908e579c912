"""Assumptions about the exchange's clocks, and about the transport of its replies."""

from collections.abc import Mapping
from typing import ClassVar

from mdcache.exchange.markets import Market
from mdcache.upstream.stated_wait import date_ms
from mdcache.verify.assumption import FREE, Assumption
from mdcache.verify.findings import NotMeasured, Seen
from mdcache.verify.session import MarketSession

_SECOND_MS = 1_000
_LONG_BYTES = 8_000


class DateOfReplies(Assumption):
    """The `Date` of replies is by the exchange's own clock."""

    facts = ("date_ahead_ms",)
    assumed = "The `Date` of a reply is the time that `time` answers: no more than a second from it."
    how = "Ask for `time`, and compare the answer with its own `Date`, which has whole seconds."
    follows = (
        "The daemon corrects its clock by `Date` between two measurements, so candles would close too early or late."
    )
    costs: ClassVar[Mapping[Market, int]] = {Market.SPOT: 1, Market.USDM: 1, Market.COINM: 1}

    async def measure(self, session: MarketSession) -> Seen:
        """Compare the two."""
        reply = await session.get_time()
        stated_ms = date_ms(reply.head)
        if stated_ms is None:
            raise NotMeasured("the reply has no Date")
        server_ms = int(reply.json()["serverTime"])
        late_ms = server_ms - (stated_ms + _SECOND_MS - 1)
        return {"date_ahead_ms": -late_ms if late_ms > 0 else max(0, stated_ms - server_ms)}


class CompressedReplies(Assumption):
    """Long replies are compressed."""

    facts = ("gzip",)
    assumed = "A long reply comes in gzip if that is accepted."
    how = "Look at the longest reply of the run."
    follows = "Each page of history takes some four times the traffic, and more time."
    costs = FREE

    async def measure(self, session: MarketSession) -> Seen:
        """Look at the header of the longest reply."""
        longest = session.questions.longest.get(session.market)
        if longest is None or len(longest.body) < _LONG_BYTES:
            raise NotMeasured("no reply was long enough")
        return {"gzip": longest.head.header("content-encoding") == "gzip"}


class ProtocolOffered(Assumption):
    """HTTP/2 is not offered."""

    facts = ("http2",)
    assumed = "HTTP/1.1 is spoken, and nothing depends on HTTP/2."
    how = "Connect by TLS, offer both, see which one is chosen, and close without asking anything."
    follows = "Nothing breaks: the daemon asks by HTTP/1.1 over a few connections that it keeps."
    costs = FREE

    async def measure(self, session: MarketSession) -> Seen:
        """See which protocol is chosen."""
        session.questions.check_gate()
        return {"http2": await session.chosen_protocol() == "h2"}
