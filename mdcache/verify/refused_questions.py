"""Assumptions about questions that are refused: their codes and texts, and what is checked first."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from mdcache.exchange.fact_kinds import ACCEPTED, FactValue
from mdcache.exchange.facts import FACTS
from mdcache.exchange.markets import Market
from mdcache.verify.assumption import Assumption
from mdcache.verify.findings import NotMeasured, Seen
from mdcache.verify.session import MarketSession

_NO_SYMBOL = "MDCACHEVERIFY"
_NO_PAIR = "MDCACHEVERIFYUSD"
_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class WrongQuestion:
    """How a question is made wrong. `more`: appended to the query as it is."""

    changes: Mapping[str, object] = field(default_factory=dict)
    headers: tuple[tuple[str, str], ...] = ()
    more: str = ""
    kind: str = "klines"


# Each has one fault. Without a `limit` of its own it asks for one candle, which weighs least.
_WRONG: Mapping[str, WrongQuestion] = {
    "symbol": WrongQuestion({"symbol": _NO_SYMBOL}),
    "interval": WrongQuestion({"interval": "7x"}),
    "missing_symbol": WrongQuestion({"symbol": None}),
    "empty_start": WrongQuestion({"startTime": ""}),
    "doubled_limit": WrongQuestion(more="&limit=1"),
    "limit_characters": WrongQuestion({"limit": "abc"}),
    "symbol_characters": WrongQuestion({"symbol": "BTC$USDT"}),
    "limit_zero": WrongQuestion({"limit": 0}),
    "start_after_end": WrongQuestion({"startTime": 2 * _HOUR_MS, "endTime": _HOUR_MS}),
    "unknown_parameter": WrongQuestion({"limit": None}, more="&mdcache=1"),
    "time_zone": WrongQuestion({"timeZone": "99"}),
    "time_unit": WrongQuestion(headers=(("X-MBX-TIME-UNIT", "WEEK"),)),
    "contract_type": WrongQuestion({"contractType": "NEVER"}, kind="continuousKlines"),
    "pair": WrongQuestion({"pair": _NO_PAIR}, kind="continuousKlines"),
}


# How a question fails each check; in some pairs it must fail in another way.
_CHECKS: Mapping[str, WrongQuestion] = {
    "empty": _WRONG["empty_start"],
    "characters": WrongQuestion({"endTime": "abc"}),
    "unknown": WrongQuestion({"limit": None}, more="&mdcache=1"),
    "interval": _WRONG["interval"],
    "limit": _WRONG["limit_zero"],
    "symbol": _WRONG["symbol"],
    "window": _WRONG["start_after_end"],
}
_BESIDE_WINDOW = {"empty": WrongQuestion({"limit": ""}), "characters": WrongQuestion({"limit": "abc"})}
_NAMES = {  # the answer that each check gives, if it is the first
    "empty": "empty_start",
    "characters": "limit_characters",
    "unknown": "unknown_parameter",
    "interval": "interval",
    "limit": "limit_zero",
    "symbol": "symbol",
    "window": "start_after_end",
}
_NOT_THE_SAME = frozenset({"characters"})  # its text names another parameter


class CheckOrder(Assumption):
    """What is checked first."""

    facts = ("check_order",)
    assumed = (
        "Of several faults, the first of these is told: empty value, characters, unknown parameter (spot), interval, …"
    )
    how = "Ask with two faults, for each two neighbours in this order; if the second is told, compare further."
    follows = "If a question has several faults, the daemon would name another one than Binance does."
    costs: ClassVar[Mapping[Market, int]] = {Market.SPOT: 10, Market.USDM: 5, Market.COINM: 5}

    async def measure(self, session: MarketSession) -> Seen:
        """Sort the checks by insertion: where all is as assumed, each is compared with the one before it only."""
        order: list[str] = []
        for check in str(FACTS[f"{session.market.value}.check_order"].assumed).split(" "):
            place = len(order)
            while place and await self._comes_first(session, check, order[place - 1]):
                place -= 1
            order.insert(place, check)
        refused = [check for check in order if session.said.get(_NAMES[check]) != ACCEPTED]
        if len(refused) <= 1:
            raise NotMeasured("nothing is refused")
        return {"check_order": " ".join(refused)}

    async def _comes_first(self, session: MarketSession, later: str, earlier: str) -> bool:
        """Return whether `later` is named before `earlier`, against what is assumed."""
        said = await _ask(session, _both(earlier, later), extra=False)
        named = next((each for each in (earlier, later) if _code(said) == _code(_assumed(session, each))), None)
        if named is None or named == later:  # is the other one refused at all, and with which code?
            alone = {each: await _alone(session, each) for each in (earlier, later)}
            named = next((each for each, text in alone.items() if _code(text) == _code(said)), None)
            if named is None:
                raise NotMeasured(f"with two faults, a third is named: {said}")
            return named == later and alone[earlier] != ACCEPTED
        if earlier not in _NOT_THE_SAME:
            session.said.setdefault(_NAMES[earlier], said)
        return False


class RefusalTexts(Assumption):
    """Codes and texts of refusals."""

    facts = tuple(f"answer_to_{name}" for name in _WRONG)
    assumed = "Wrong questions are refused with the codes and texts that the daemon itself answers with."
    how = "Ask with one fault: unknown symbol or interval, missing, empty, doubled, unknown parameters, …"
    follows = "Clients that read codes or texts would get others from the daemon than from Binance."
    left_out: ClassVar[frozenset[str]] = frozenset({"coinm.answer_to_limit_characters"})  # 5
    costs: ClassVar[Mapping[Market, int]] = {Market.SPOT: 16, Market.USDM: 12, Market.COINM: 7}

    async def measure(self, session: MarketSession) -> Seen:
        """Ask all that the order of checks has not shown already."""
        seen: dict[str, FactValue | NotMeasured] = {}
        for fact in self.known_facts:
            name = fact.removeprefix("answer_to_")
            try:
                seen[fact] = await _answer(session, name)
            except NotMeasured as why:
                seen[fact] = why
        return seen


async def _answer(session: MarketSession, name: str, *, extra: bool = False) -> str:
    """Return how a question with one fault is answered."""
    if name not in session.said:
        session.said[name] = await _ask(session, _WRONG[name], extra=extra)
    return session.said[name]


async def _alone(session: MarketSession, check: str) -> str:
    return await _answer(session, _NAMES[check], extra=True)


async def _ask(session: MarketSession, wrong: WrongQuestion, *, extra: bool) -> str:
    changes = dict(wrong.changes)
    if session.market is not Market.SPOT and changes.get("limit", 0) is None:
        del changes["limit"]  # one candle weighs least
    reply = await session.klines(changes, kind=wrong.kind, headers=wrong.headers, more=wrong.more, extra=extra)
    return reply.said()


def _both(earlier: str, later: str) -> WrongQuestion:
    """Return a question that is wrong in both."""
    ways = {**_CHECKS, **_BESIDE_WINDOW} if "window" in {earlier, later} else _CHECKS
    parts = ways[earlier], ways[later]
    changes = {name: value for part in parts for name, value in part.changes.items() if value is not None}
    left_out = {name: None for part in parts for name, value in part.changes.items() if value is None}
    return WrongQuestion(left_out | changes, more="".join(part.more for part in parts))


def _assumed(session: MarketSession, check: str) -> str:
    return str(FACTS[f"{session.market.value}.answer_to_{_NAMES[check]}"].assumed)


def _code(said: str) -> str:
    return said.partition(" ")[0]
