"""Assumptions about weights: what questions are charged, and which hosts share one counter."""

from collections import Counter
from collections.abc import Mapping
from http import HTTPStatus
from typing import ClassVar

from mdcache.exchange.markets import KLINE_ENDPOINTS, Market
from mdcache.exchange.rate_limits import used_weight, weight_limit
from mdcache.exchange.weights import TIME
from mdcache.verify.allowance import WeightClass
from mdcache.verify.assumption import FREE, Assumption
from mdcache.verify.findings import NotMeasured, Seen
from mdcache.verify.reply_seen import ReplySeen
from mdcache.verify.session import MarketSession, documented_weight

_ENOUGH = 2  # equal charges that are not as documented: others who use the address rarely add the same twice
_MOST_SAMPLES = 4
_ROUNDS = 3
_OTHERS = ("uiKlines", "continuousKlines", "indexPriceKlines", "markPriceKlines", "premiumIndexKlines")


class WeightLimit(Assumption):
    """The limit of a minute."""

    facts = ("weight_limit",)
    assumed = "An address may use a weight of 6,000 a minute on spot, and 2,400 on both futures markets together."
    how = "Read it in `exchangeInfo`."
    follows = (
        "Nothing: the daemon takes the limit from `exchangeInfo`. Plans of `check --plan` are made for the usual one."
    )
    costs: ClassVar[Mapping[Market, int]] = {Market.SPOT: 20, Market.USDM: 1, Market.COINM: 1}

    async def measure(self, session: MarketSession) -> Seen:
        """Read it."""
        return {"weight_limit": weight_limit(session.market, (await session.symbols()).rate_limits)}


class UsageShown(Assumption):
    """The usage header."""

    facts = ("weight_header",)
    assumed = "Replies say in `X-MBX-USED-WEIGHT-1M` what the address has used."
    how = "Look at the replies of the run."
    follows = "The daemon would know only of its own weight, not of what others behind the address use."
    costs = FREE

    async def measure(self, session: MarketSession) -> Seen:
        """Look at the last reply."""
        if session.market not in session.questions.shows_usage:
            raise NotMeasured("nothing was answered")
        return {"weight_header": session.questions.shows_usage[session.market]}


class CandleWeights(Assumption):
    """What `klines` weighs."""

    facts = ("klines_weights",)
    assumed = (
        "`klines` weighs 2 on spot whatever its `limit`; on futures 1 below 100, 2 below 500, 5 to 1,000, 10 above."
    )
    how = "See by how much each question of the run made the usage header grow; on USD-M, also ask without `limit`."
    follows = "The daemon would spend more of the limit than it counts, or could spend more than it does."
    costs: ClassVar[Mapping[Market, int]] = {Market.SPOT: 0, Market.USDM: 5, Market.COINM: 0}

    async def measure(self, session: MarketSession) -> Seen:
        """Gather what each class of question was charged."""
        path = session.endpoint().path
        if session.market is Market.USDM:
            await session.klines({"limit": None})
        limits = {_limit(session, each) for each in session.questions.charges if each.path == path} - {0} or {1}
        return {"klines_weights": {str(limit): await _weight(session, "klines", limit) for limit in sorted(limits)}}


class OtherWeights(Assumption):
    """What the other kline paths weigh."""

    facts = tuple(f"{kind}_weights" for kind in _OTHERS)
    assumed = "The other kline paths weigh what `klines` weighs."
    how = "Ask each for one candle, and see by how much the usage header has grown."
    follows = CandleWeights.follows
    costs: ClassVar[Mapping[Market, int]] = {Market.SPOT: 0, Market.USDM: 3, Market.COINM: 3}

    async def measure(self, session: MarketSession) -> Seen:
        """Ask each of the paths that the market has."""
        seen: dict[str, Mapping[str, int] | NotMeasured] = {}
        for kind in _OTHERS:
            if f"{session.market.prefix}{kind}" not in KLINE_ENDPOINTS:
                continue
            try:
                if not _charges(session, kind, 1):
                    (await session.klines(kind=kind)).rows()
                seen[f"{kind}_weights"] = {"1": await _weight(session, kind, 1)}
            except NotMeasured as why:
                seen[f"{kind}_weights"] = why
        return seen


class RefusalsWeigh(Assumption):
    """Whether refused questions weigh."""

    facts = ("refusals_weigh",)
    assumed = "A refused question (400) weighs what it asks for on futures, and nothing on spot."
    how = "See by how much the refused questions of the run made the usage header grow."
    follows = "Nothing: the daemon counts them in either case."
    costs = FREE

    async def measure(self, session: MarketSession) -> Seen:
        """Look at what they were charged; others who use the address only ever add."""
        charged = session.questions.refusal_charges.get(session.market, [])
        if len(charged) < _ENOUGH:
            raise NotMeasured("too few refusals were seen to be charged or not")
        return {"refusals_weigh": charged.count(0) < _ENOUGH}


class SharedByFutures(Assumption):
    """USD-M and COIN-M share a counter."""

    facts = ("coinm_shares_weight",)
    assumed = "USD-M and COIN-M count an address's weight together."
    how = "Ask USD-M, COIN-M and USD-M again for `time`, and see whether the header goes on counting."
    follows = "The daemon would use half of what it could, on each of the two."
    costs: ClassVar[Mapping[Market, int]] = {Market.USDM: 3}

    async def measure(self, session: MarketSession) -> Seen:
        """Ask both hosts in turn."""
        return {"coinm_shares_weight": await _shared(session, other=Market.COINM)}


class SharedBySpotHosts(Assumption):
    """The hosts of spot share a counter."""

    facts = ("data_host_shares_weight",)
    assumed = "`data-api.binance.vision` counts an address's weight together with `api.binance.com`."
    how = "Ask the one, the other and the first again for `time`, and see whether the header goes on counting."
    follows = "History could be read by the other host without using up this one's limit."
    costs: ClassVar[Mapping[Market, int]] = {Market.SPOT: 3}

    async def measure(self, session: MarketSession) -> Seen:
        """Ask both hosts in turn."""
        return {"data_host_shares_weight": await _shared(session, other=None)}


async def _shared(session: MarketSession, *, other: Market | None) -> bool:
    """Return whether another host goes on counting where this one stopped. `other`: `None` for spot's second host.

    It is tried again if others have used the address in between.
    """
    for number in range(_ROUNDS):
        extra = number > 0
        before = _used(await session.get_time(extra=extra))
        between = _used(await session.ask_other(other, extra=extra))
        after = _used(await session.get_time(extra=extra))
        if before < between < after:
            return True
        if after == before + TIME:
            return False
    raise NotMeasured("others use this address at the same time, or the minute changed")


def _used(reply: ReplySeen) -> int:
    used = used_weight(reply.head.headers)
    if reply.head.status != HTTPStatus.OK or used is None:
        raise NotMeasured("the reply does not say what was used")
    return used


def _limit(session: MarketSession, group: WeightClass) -> int:
    """Return the `limit` that counts for a question: at most the path's own, and its default without a number."""
    endpoint = session.endpoint()
    return min(int(group.limit) if group.limit.isdecimal() else endpoint.default_limit, endpoint.max_limit)


def _charges(session: MarketSession, kind: str, limit: int) -> list[int]:
    """Return the charges for answers of a path with this `limit`."""
    path, charges = session.endpoint(kind).path, session.questions.charges
    return [
        charge for each in charges if each.path == path and _limit(session, each) == limit for charge in charges[each]
    ]


async def _weight(session: MarketSession, kind: str, limit: int) -> int:
    """Return what a question with this `limit` is charged; ask again where others may have used the address meanwhile.

    Others only ever add: a charge that is as documented is believed at once, any other if it comes twice, or if nobody
    else seems to use the address.
    """
    endpoint = session.endpoint(kind)
    documented = documented_weight(endpoint, limit)
    for _ in range(_MOST_SAMPLES):
        found = Counter(_charges(session, kind, limit))
        if documented in found:
            return documented
        if found and ((common := found.most_common(1)[0])[1] >= _ENOUGH or session.questions.alone):
            return common[0]
        (await session.klines({"limit": limit}, kind=kind, extra=True)).rows()
    raise NotMeasured(f"questions with limit={limit} are not always charged the same: others use this address")
