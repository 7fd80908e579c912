"""Measure assumptions: all markets at the same time, while streams are listened to over two closes.

A run always ends: refusals, a lost network and its own deadline only leave more that could not be measured.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from mdcache.background_work import cancel_all
from mdcache.clock import Clock
from mdcache.exchange.fact_kinds import FactValue
from mdcache.exchange.markets import Family, Market
from mdcache.verify.allowance import Allowance
from mdcache.verify.assumption import Assumption
from mdcache.verify.clocks import DateOfReplies
from mdcache.verify.closes import LAST_POLL_MS, topic, watch_close
from mdcache.verify.exchange_time import MINUTE_MS
from mdcache.verify.findings import FactVerdict, Finding, NotMeasured, Seen
from mdcache.verify.listening import StreamListener
from mdcache.verify.session import MarketSession
from mdcache.verify.topics_heard import order_by_trades

CLOSES = 2
_READY_MS = 5_000  # streams are connected and subscribed to before the first close
_BEFORE_MS, _AFTER_MS = 1_000, 4_500  # around a close, when nothing else is asked
_TICKERS_S = 10.0  # after which a symbol that the tickers have not listed counts as quiet
_QUIET_SYMBOLS = 6
_QUICK_S = 15.0
_MORE_S = 30.0  # grace after the closes
_LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class VerifyProgress:
    """How far a run is. `seconds_left`: until the last close was read; 0 while that is not known."""

    done: int
    total: int
    seconds: float
    seconds_left: float
    weight: int


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a run found. `stopped`: why a family was asked no more; `refused`: whether the exchange itself refused."""

    findings: tuple[Finding, ...]
    weight: int
    seconds: float
    stopped: Mapping[Family, str]
    refused: bool

    @property
    def measured(self) -> dict[str, FactValue]:
        """The value of every fact that was measured, by its key."""
        return {each.fact.key: each.value for each in self.findings if each.value is not None}

    def count(self, verdict: FactVerdict) -> int:
        """Return how many facts have a verdict."""
        return sum(each.verdict is verdict for each in self.findings)


class VerifyRun:
    """One run. `quick`: closes are not waited for."""

    def __init__(
        self,
        assumptions: Sequence[Assumption],
        sessions: Mapping[Market, MarketSession],
        allowance: Allowance,
        clock: Clock,
        *,
        quick: bool,
        on_progress: Callable[[VerifyProgress], None],
    ) -> None:
        self._assumptions = assumptions
        self._sessions = sessions
        self._allowance = allowance
        self._clock = clock
        self._quick = quick
        self._on_progress = on_progress
        self._seen: dict[Assumption, Seen | NotMeasured] = {}
        self._began_s = clock.now()
        self._until_s = 0.0

    async def run(self) -> VerifyReport:
        """Measure all of them."""
        listening = [
            asyncio.create_task(part)
            for session in self._sessions.values()
            if session.listener is not None
            for part in (session.listener.run(), self._listen_to_quiet_symbols(session, session.listener))
        ]
        families = {session.market.family for session in self._sessions.values()}
        asking = [asyncio.create_task(self._ask(family)) for family in families]
        try:
            await self._wait_for(asking)
        finally:
            await cancel_all(*listening, *asking)
        with suppress(TimeoutError):
            async with asyncio.timeout(_MORE_S):
                for session in self._sessions.values():
                    with suppress(NotMeasured):
                        order_by_trades(session)
                for assumption in self._assumptions:
                    if assumption.at_end:
                        await self._measure(assumption)
        self._report_progress()
        return self._report()

    # ------------------------------------------------------------------------------------ parts

    async def _ask(self, family: Family) -> None:
        """Ask one family's questions, and read its closes in between."""
        sessions = [session for session in self._sessions.values() if session.market.family is family]
        for session in sessions:
            if not any(isinstance(each, DateOfReplies) for each in self._assumptions):
                with suppress(NotMeasured):
                    await session.get_time(extra=True)
        for assumption in self._of(sessions, DateOfReplies):
            await self._measure(assumption)
        closes = [asyncio.create_task(self._watch_closes(session)) for session in self._plan_closes(sessions)]
        try:
            for session in sessions:  # one after the other, or charges could not be told apart
                for assumption in self._of([session]):
                    if not assumption.at_end and assumption not in self._seen:
                        await self._measure(assumption)
            await self._stay(sessions, closes)
        finally:
            await cancel_all(*closes)

    def _of(self, sessions: Sequence[MarketSession], kind: type[Assumption] = Assumption) -> list[Assumption]:
        markets = {session.market for session in sessions}
        return [each for each in self._assumptions if each.market in markets and isinstance(each, kind)]

    def _plan_closes(self, sessions: Sequence[MarketSession]) -> list[MarketSession]:
        """Choose the closes to read; return the sessions that read them, none in a quick run."""
        now_ms = sessions[0].time.now_ms()
        first_ms = int(now_ms + _READY_MS) // MINUTE_MS * MINUTE_MS + MINUTE_MS
        end_ms = now_ms + _QUICK_S * 1000
        waits = [] if self._quick else [each for each in sessions if any(one.at_end for one in self._of([each]))]
        for session in waits:
            session.closes_ms = tuple(first_ms + number * MINUTE_MS for number in range(CLOSES))
            end_ms = session.closes_ms[-1] + LAST_POLL_MS + 1000
            session.questions.busy[:] = [(each - _BEFORE_MS, each + _AFTER_MS) for each in session.closes_ms]
        if waits or any(session.listener for session in sessions):
            self._until_s = max(self._until_s, self._clock.now() + (end_ms - now_ms) / 1000)
        return waits

    async def _watch_closes(self, session: MarketSession) -> None:
        for number in range(CLOSES):
            await watch_close(session, number)

    async def _stay(self, sessions: Sequence[MarketSession], closes: Sequence[asyncio.Task[None]]) -> None:
        """Wait for the closes and for the streams, as long as anything may still come."""
        while self._clock.now() < self._until_s or not all(task.done() for task in closes):
            if all(session.is_lost for session in sessions):
                return
            await self._clock.sleep(_LOOK_S)

    async def _wait_for(self, asking: Sequence[asyncio.Task[None]]) -> None:
        """Wait until everything was asked or the deadline has passed, and report the progress."""
        left: set[asyncio.Task[None]] = set(asking)
        while left:
            done, left = await asyncio.wait(left, timeout=_LOOK_S)
            for task in done:
                task.result()
            self._report_progress()
            if self._clock.now() > max(self._until_s, self._began_s + _QUICK_S) + _MORE_S:
                return

    async def _listen_to_quiet_symbols(self, session: MarketSession, listener: StreamListener) -> None:
        """After some frames of the tickers, listen to symbols that they never list, and to those traded least."""
        while not (listener.recording.tickers and session.symbols_known):
            await self._clock.sleep(_LOOK_S)
        await self._clock.sleep(_TICKERS_S)
        with suppress(NotMeasured):
            volumes = listener.recording.volumes
            others = (await session.symbols()).trading - {session.symbol}
            alike = {name for name in others if name.endswith(session.quote)}  # their volumes can be compared
            trading = sorted(alike, key=lambda name: (volumes.get(name, 0.0), name))
            quiet = [name for name in trading if name not in volumes]
            session.quiet = [*quiet[: _QUIET_SYMBOLS // 2], *trading[len(quiet) :][: _QUIET_SYMBOLS // 2]]
            await listener.add([topic(session, name) for name in session.quiet])
            session.quiet_since_ms = int(session.time.now_ms())

    async def _measure(self, assumption: Assumption) -> None:
        session = self._sessions[assumption.market]
        try:
            self._seen[assumption] = await assumption.measure(session)
        except NotMeasured as why:
            self._seen[assumption] = why

    def _report(self) -> VerifyReport:
        late = NotMeasured("the time of this run was over")
        findings = [found for each in self._assumptions for found in each.findings(self._seen.get(each, late))]
        asked = {session.market.family: session.questions for session in self._sessions.values()}
        return VerifyReport(
            tuple(findings),
            self._allowance.spent,
            self._clock.now() - self._began_s,
            {family: questions.stopped for family, questions in asked.items() if questions.stopped},
            any(questions.refused for questions in asked.values()),
        )

    def _report_progress(self) -> None:
        now_s = self._clock.now()
        self._on_progress(
            VerifyProgress(
                len(self._seen),
                len(self._assumptions),
                now_s - self._began_s,
                max(0.0, self._until_s - now_s),
                self._allowance.spent,
            )
        )
