"""One history: its steps are taken one after the other, and after each of them everything is checked."""

import asyncio
import builtins
import json
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import parse_qsl

from mdcache.candles.persistence import SeriesFilter
from mdcache.events import BackgroundTaskFailed
from mdcache.exchange.intervals import INTERVALS
from mdcache.exchange.markets import KLINE_ENDPOINTS, Market
from tests.support.random_klines import RandomQuestion, draw
from tests.system.bots import Bots
from tests.system.lives import Life
from tests.system.recovery import Recovery
from tests.system.repeat_checks import RepeatChecks
from tests.system.replica import SERVER_LOG, Replica
from tests.system.rest_oracle import KLINE_PATHS, REVISED_TRADES, REVISED_VOLUME, Asked, Directives, RestOracle
from tests.system.steps import Plan, Step
from tests.system.troubles import Troubles
from tests.system.wire import ConnectionReset, HttpAnswer
from tests.system.wire_checks import WireChecks
from tests.system.world import SHARE, World

_FED_SYMBOLS = {
    Market.SPOT: ("BTCUSDT", "QUIETUSDT"),
    Market.USDM: ("BTCUSDT", "BTCUSDT_261225"),
    Market.COINM: ("BTCUSD_PERP", "DOTUSD_PERP"),
}
_FED = ("1s", "1m", "1m", "1m", "3m", "5m", "15m", "1h", "4h", "1d", "1w", "1M")
_WAITS_S = (0.001, 0.05, 0.3, 0.7, 1.0, 2.1, 5.0, 11.0, 30.0, 61.0)
_AFTER_CLOSE_MS = (-300, -60, -1, 0, 1, 60, 200, 400, 1_000, 2_000, 2_100, 3_100)
DEADLINE_MS = 8_000
_READS_END_S = 6.1  # a read that was sent into the fault has ended, and its error is shared no more
_LATE_MS = 1_100  # a min-as-of a second ahead is waited for


SNAPSHOTS = tuple(
    RandomQuestion(path, query)
    for path, query in (
        ("/api/v3/ticker/price", "symbol=BTCUSDT"),
        ("/api/v3/ticker/bookTicker", "symbol=SOLUSDT"),
        ("/api/v3/avgPrice", "symbol=BTCUSDT"),
        ("/fapi/v1/premiumIndex", "symbol=BTCUSDT"),
        ("/fapi/v1/ticker/price", "symbol=BTCUSDT"),
        ("/dapi/v1/openInterest", "symbol=BTCUSD_PERP"),
    )
)
_HEAVIEST = 5  # weight of one of them, or more


def _market(question: RandomQuestion) -> Market:
    if question.path in KLINE_ENDPOINTS:
        return KLINE_ENDPOINTS[question.path].market
    return {"api": Market.SPOT, "fapi": Market.USDM, "dapi": Market.COINM}[question.path.split("/")[1]]


class _Handler(logging.Handler):
    """Tells of what the server logs: exceptions that nobody foresaw."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__(logging.ERROR)
        self._told = tell

    def emit(self, record: logging.LogRecord) -> None:
        self._told(f"{record.getMessage()}: {record.exc_info}")


class History:
    """Plays a plan in a folder. `questions`: how many were asked."""

    def __init__(self, plan: Plan, folder: Path | None) -> None:
        self.plan = plan
        self.world = World(plan.options, folder)
        self.oracle = RestOracle(self.world.exchange, plan.options)
        config = self.world.exchange.config
        least = min(config.spot_limit, config.futures_limit) * SHARE
        self.oracle.snapshot_ttl_ms = int(1000 * max(1.0, 60 * _HEAVIEST / (0.1 * least)))
        self.wire = WireChecks({"spot": config.spot_limit * SHARE, "futures": config.futures_limit * SHARE})
        self.repeats = RepeatChecks(self.world.exchange, self.world.spoilt)
        self.troubles = Troubles(self.world)
        self._failure: str | None = None
        self.bots = Bots(self.world, self.oracle, self._is_excused, self._tell)
        self.recovery = Recovery(self.world, self.wire)
        self.questions = self.refused = 0
        rng = random.Random(f"polled/{plan.seed}")
        markets = rng.sample(list(Market), rng.choice([1, 2, 3]))
        self.polled = [self._polled(rng, rng.choice(markets)) for _ in range(rng.randint(2, 6))]
        self.paths = [path for path, rule in sorted(KLINE_ENDPOINTS.items()) if rule.market in markets]
        self.asked_before: list[RandomQuestion] = []
        self._shown: dict[tuple[Life, str], int] = {}

    async def run(self, steps: Sequence[Step]) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self._tell(repr(context)))
        handler = _Handler(self._tell)
        SERVER_LOG.addHandler(handler)
        try:
            await self._run(steps)
        finally:
            SERVER_LOG.removeHandler(handler)

    async def _run(self, steps: Sequence[Step]) -> None:
        await self.world.start()
        self.check()
        for step in steps:
            await self._take(step)
            self.check()
        await self._recover(random.Random(0))
        self.check()
        await self.bots.leave_all()
        await self.world.aclose()
        self.check()
        self.questions += self.bots.questions

    def _tell(self, failure: str) -> None:
        self._failure = self._failure or failure

    def check(self) -> None:
        """Check all that must be so after each step."""
        world = self.world
        assert self._failure is None, self._failure
        self._count()
        clocks = [replica.governor.clocks for replica in world.replicas]
        errors = [each.now(market).error_ms for each in clocks for market in Market if each.measured(market)]
        self.oracle.worst_error_ms = max([self.oracle.worst_error_ms, *errors])
        self.oracle.forget(world.clock.true_ms() - 600_000)
        trips, world.network.trips = world.network.trips, []
        answered = self.wire.take(trips)
        if world.options.memory_mb > 1:
            self.repeats.take(answered)
        self.bots.check()
        for replica in world.replicas:
            failed = [event.detail for event in replica.events if isinstance(event, BackgroundTaskFailed)]
            unforeseen = [detail for detail in failed if hasattr(builtins, detail.partition(":")[0])]
            assert not unforeseen, unforeseen
            replica.events.clear()
            for status in replica.governor.status():
                if status.gate_reason == "403" and not replica.flaps(status.family):
                    self.wire.check_pause(status.family, status.reopens_in_s)
            over = {name: part for name, part in replica.memory().items() if part > 1}
            assert not over, over

    def _count(self) -> None:
        """Count what has reached the exchange since the last time."""
        entries = list(self.world.exchange.log)
        self.world.exchange.log.clear()
        for entry in entries:
            self.wire.count(entry.family, entry.at_ms, entry.weight)
            self.oracle.read_ms.append(entry.at_ms)

    async def _take(self, step: Step) -> None:
        rng = step.rng()
        takes: dict[str, Callable[[random.Random], object]] = {
            "ask": self._ask_some,
            "wait": self._wait,
            "close": self._wait_for_close,
            "recover": self._recover,
            "purge": self._purge,
            "revise": self._revise,
            "kill": self._kill,
            "listen": self.bots.listen,
            "leave": self.bots.leave,
            "stop_reading": self.bots.stop_reading,
        }
        take = takes.get(step.kind) or partial(self.troubles.make, step.kind)
        done = take(rng)
        if asyncio.iscoroutine(done):
            await done

    # ------------------------------------------------------------------------------- time

    async def _wait(self, rng: random.Random) -> None:
        await self.world.wait(rng.choice(_WAITS_S))

    async def _wait_for_close(self, rng: random.Random) -> None:
        now_ms = self.world.clock.true_ms()
        await self.world.wait((60_000 - now_ms % 60_000 + rng.choice(_AFTER_CLOSE_MS)) / 1000)

    async def _recover(self, _rng: random.Random) -> None:
        """All faults end: soon everything works again, though nobody asks."""
        await self.troubles.end_all()
        await self.recovery.wait(self.check)
        await self.world.wait(_READS_END_S)
        self.troubles.forget()
        self.bots.read_again()
        await self.bots.wait_until_all_hear(self.check, self.wire.hear_within_s(self.world.clock.true_ms()))
        for market, path in KLINE_PATHS.items():
            symbol = _FED_SYMBOLS[market][0]
            asked = RandomQuestion(path, f"symbol={symbol}&interval=1m&limit=2")
            for replica in self.world.replicas:
                await self._ask_until_answered(replica, asked)

    # ------------------------------------------------------------------------------- what is known

    async def _kill(self, rng: random.Random) -> None:
        self.check()
        killed = await self.troubles.kill(rng)
        self._count()
        if killed is not None and self.world.shared is None:
            unwritten = (
                killed.disk is None or killed.disk.full or bool(killed.state.gates and killed.state.gates.trouble)
            )
            self.wire.forget(self.world.clock.true_ms(), all_of_it=unwritten)
        if killed is not None and rng.random() < 0.7:
            killed.restart()
            await killed.start()

    async def _purge(self, rng: random.Random) -> None:
        alive = [each for each in self.world.replicas if each.runs]
        if alive:
            self.repeats.forget()
            replica = rng.choice(alive)
            wanted = SeriesFilter(subject=rng.choice(["BTCUSDT", "BTCUSD_PERP"]))
            await replica.life.task(replica.cache.purge.run(wanted))

    def _revise(self, rng: random.Random) -> None:
        """Have the exchange print a closed row of a polled series differently from now on."""
        asked = rng.choice(self.polled)
        sent = dict(parse_qsl(asked.query))
        now_ms, interval = self.world.clock.true_ms(), INTERVALS[sent["interval"]]
        query = f"symbol={sent['symbol']}&interval={sent['interval']}&limit=60"
        rows = json.loads(self.oracle.truth(replace(asked, query=query), now_ms))
        if isinstance(rows, dict):  # the contract has been delivered
            return
        closed = [row[0] for row in rows if row[6] + 2 * interval.length_ms < now_ms]
        if closed:
            revised = (asked.path, sent["symbol"], sent["interval"], rng.choice(closed))
            self.oracle.revised.add(revised)
            self.world.control.revise(*revised, volume=REVISED_VOLUME, trades=REVISED_TRADES)

    # ------------------------------------------------------------------------------- questions

    def _polled(self, rng: random.Random, market: Market) -> RandomQuestion:
        interval = rng.choice(_FED if market is Market.SPOT else _FED[1:])
        limit = rng.choice([1, 2, 5, 30, 200])
        symbol = rng.choice(_FED_SYMBOLS[market])
        return RandomQuestion(KLINE_PATHS[market], f"symbol={symbol}&interval={interval}&limit={limit}")

    def _question(self, rng: random.Random) -> RandomQuestion:
        dice = rng.random()
        if dice < 0.85:
            return rng.choice(self.polled)
        if dice < 0.88:
            return rng.choice(SNAPSHOTS)
        if dice < 0.94 and self.asked_before:
            return rng.choice(self.asked_before)
        found = draw(rng, self.world.clock.true_ms(), paths=self.paths)
        self.asked_before = [*self.asked_before[-20:], found]
        return found

    def _directives(self, rng: random.Random) -> Directives:
        if rng.random() < 0.8:
            return Directives()
        now_ms = self.world.clock.true_ms()
        return Directives(
            max_age_s=rng.choice([None, None, 0, 1, 3, 60]),
            max_stale_s=rng.choice([None, None, None, 10, 300]),
            no_cache=rng.random() < 0.1,
            only_if_cached=rng.random() < 0.1,
            min_as_of_ms=rng.choice([None, None, None, now_ms - 500, now_ms, now_ms + 300, now_ms + 10**7]),
        )

    async def _ask_some(self, rng: random.Random) -> None:
        """Ask many questions, at once or one after the other; most go through the balancer."""
        every_s = rng.choice([0.0, 0.0, 0.001, 0.05, 0.3])
        asking: list[asyncio.Task[int]] = []
        for _ in range(rng.choice([1, 5, 50, 100, 200])):
            replica = await self._replica(rng)
            if replica is not None:
                work = self._ask(replica, self._question(rng), self._directives(rng))
                asking.append(asyncio.create_task(work))
            if every_s:
                await self.world.wait(every_s)
        await asyncio.gather(*asking)

    async def _replica(self, rng: random.Random) -> Replica | None:
        chosen = await self.world.balancer.choose()
        if rng.random() < 0.8:
            return chosen
        alive = [each for each in self.world.replicas if each.runs]
        return rng.choice(alive) if alive else None

    async def _ask_until_answered(self, replica: Replica, question: RandomQuestion) -> None:
        """Ask when nothing is wrong: the answer is right at once, or in the next minute if the weight is spent."""
        for _ in range(10):
            status = await self._ask(replica, question, Directives())
            if status == 200:
                return
            assert status == 503, (status, question)
            await self.world.wait(8.0)
        raise AssertionError(("nothing is wrong, but there is no answer", replica.number, question))

    async def _ask(self, replica: Replica, question: RandomQuestion, directives: Directives) -> int:
        """Ask one question, and check its answer; return its status, 0 if the daemon went."""
        self.questions += 1
        world, life = self.world, replica.life
        asked_ms = world.clock.true_ms()
        asked = Asked(question, directives, asked_ms, asked_ms, 0)
        try:
            async with asyncio.timeout((DEADLINE_MS + _LATE_MS) / 1000):
                answer = await world.ask(replica, asked.target, dict(question.headers) | directives.headers())
        except ConnectionReset:
            assert life.ended or not replica.runs, ("a reset answer", asked)
            return 0
        except TimeoutError:
            raise AssertionError(("no answer by the deadline", asked)) from None
        market = _market(question)
        clocks = replica.governor.clocks
        error_ms = clocks.now(market).error_ms if clocks.measured(market) else 0
        asked = Asked(question, directives, asked_ms, world.clock.true_ms(), error_ms)
        self.oracle.read_ms = sorted({*self.oracle.read_ms, *(entry.at_ms for entry in world.exchange.log)})
        self._check(replica, asked, answer)
        return answer.status

    def _check(self, replica: Replica, asked: Asked, answer: HttpAnswer) -> None:
        said = (answer.status, answer.body[:200], asked)
        if answer.status == 200:
            self.oracle.check(asked, answer)
            self._check_order(replica, asked, int(answer.headers["x-mdcache-as-of"]))
            return
        self.refused += 1
        assert answer.status not in {418, 429, 500}, said
        if answer.status in {502, 503}:
            assert self.troubles.lately or self._short(replica, asked), ("no trouble", said)
        elif answer.status == 504:
            assert asked.directives.only_if_cached, said
        else:
            assert self.oracle.is_true(asked, asked.asked_ms, answer.body), ("not the exchange's refusal", said)

    def _check_order(self, replica: Replica, asked: Asked, as_of_ms: int) -> None:
        """Check that time never runs back within a process, for a question that always shows the newest candle."""
        if "endTime" in asked.target or asked.answered_ms != asked.asked_ms:
            return
        key = (replica.life, asked.target)
        back_ms = self._shown.get(key, 0) - as_of_ms
        assert back_ms <= 0, ("time ran back", back_ms, asked)
        self._shown[key] = as_of_ms

    def _is_excused(self, replica: Replica) -> bool:
        return self.troubles.lately or any(
            each.short or each.used >= 0.8 * each.allowed or self.troubles.is_spent(each.family)
            for each in replica.governor.status()
        )

    def _short(self, replica: Replica, asked: Asked) -> bool:
        """Return whether a part of the share is spent, or this replica's part of it."""
        family = _market(asked.question).family.value
        if self.troubles.is_spent(family) or any(
            each.short for each in replica.governor.status() if each.family == family
        ):
            return True
        spent = self.wire.spent[family, asked.answered_ms // 60_000]
        spent += sum(entry.weight for entry in self.world.exchange.log if entry.family == family)
        return spent >= 0.3 * self.wire.allowed[family] / len(self.world.replicas)
