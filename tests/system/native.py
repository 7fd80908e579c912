"""A bot on `/v1/candles`: it asks, and then waits with each answer's token for what is new."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mdcache.exchange.markets import Market
from tests.support.random_klines import RandomQuestion
from tests.system.replica import Replica
from tests.system.rest_oracle import KLINE_PATHS, RestOracle
from tests.system.wire import ConnectionReset, HttpAnswer
from tests.system.world import World

_AGAIN_S = 1.0
_DEADLINE_S = 9.0


@dataclass(frozen=True)
class NativeQuestion:
    market: Market
    symbols: tuple[str, ...]
    interval: str
    limit: int
    closed: bool
    wait_s: int

    def query(self) -> str:
        closed = "&closed=true" if self.closed else ""
        names = ",".join(self.symbols)
        return f"market={self.market.value}&symbols={names}&intervals={self.interval}&limit={self.limit}{closed}"


@dataclass
class NativeReply:
    """`took_s`: how long it was held; `waited`: whether it could be; `excused`: whether it may have failed.

    `stopped`: the daemon was told to end meanwhile.
    """

    answer: HttpAnswer
    took_s: float
    waited: bool
    excused: bool
    stopped: bool


@dataclass
class NativeBot:
    """`replies`: what it was answered, not yet checked. `questions`: how many it asked.

    `excused`: whether questions to a replica may fail now.
    """

    world: World
    question: NativeQuestion
    excused: Callable[[Replica], bool]
    tell: Callable[[str], None]
    replies: list[NativeReply] = field(default_factory=list)
    questions: int = 0

    def __post_init__(self) -> None:
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(self._ended)

    async def leave(self) -> None:
        self._task.cancel()
        await asyncio.sleep(0)

    async def _run(self) -> None:
        token = ""
        while True:
            replica = await self.world.balancer.choose()
            reply = None if replica is None else await self._ask(replica, token)
            if reply is None:
                await self.world.wait(_AGAIN_S)
                continue
            self.replies.append(reply)
            if reply.answer.status == 200:
                token = json.loads(reply.answer.body)["token"]
            if reply.answer.status not in {200, 204} or reply.took_s < _AGAIN_S:
                await self.world.wait(_AGAIN_S)

    async def _ask(self, replica: Replica, token: str) -> NativeReply | None:
        self.questions += 1
        clock, life = self.world.clock, replica.life
        since = f"&since={token}&wait={self.question.wait_s}" if token else ""
        began_s, excused = clock.now(), self.excused(replica)
        try:
            async with asyncio.timeout(_DEADLINE_S + (self.question.wait_s if token else 0)):
                answer = await self.world.ask(replica, f"/v1/candles?{self.question.query()}{since}")
        except ConnectionReset:
            assert life.ended or not replica.runs, ("a reset answer", self.question)
            return None
        except TimeoutError:
            raise AssertionError(("no answer by the deadline", self.question, began_s)) from None
        excused = excused or self.excused(replica)
        return NativeReply(answer, clock.now() - began_s, bool(token), excused, not replica.runs)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and task.exception() is not None:
            self.tell(repr(task.exception()))


class NativeChecks:
    def __init__(self, oracle: RestOracle) -> None:
        self._oracle = oracle

    def check(self, bot: NativeBot, reply: NativeReply) -> None:
        said = (reply.answer.status, reply.answer.body[:300], bot.question, reply.took_s)
        match reply.answer.status:
            case 200:
                for series in json.loads(reply.answer.body)["series"]:
                    if "rows" in series:
                        self._check_rows(bot.question, series)
                    else:
                        assert reply.excused, ("no trouble", series, said)
            case 204:
                assert reply.waited, ("no news, but nobody waited", said)
                whole = reply.took_s >= bot.question.wait_s - 0.01
                assert whole or reply.stopped, ("ended too soon", said)
            case 502 | 503:
                assert reply.excused, ("no trouble", said)
            case _:
                raise AssertionError(("unforeseen", said))

    def _check_rows(self, question: NativeQuestion, series: dict[str, Any]) -> None:
        as_of_ms, limit = series["as_of"], question.limit + question.closed
        names = f"symbol={series['symbol']}&interval={series['interval']}&limit={limit}"
        asked = RandomQuestion(KLINE_PATHS[question.market], names)
        printed = None
        error_ms = self._oracle.worst_error_ms
        # the as-of of a final frame is its candle's close
        edges_ms = dict.fromkeys((as_of_ms, as_of_ms + 1, as_of_ms - error_ms, as_of_ms + error_ms))
        truths = self._oracle.truths(asked, as_of_ms, error_ms)
        for body, edge_ms in ((body, edge) for body in truths for edge in edges_ms):
            rows = [[*row[:11], row[6] < edge_ms] for row in json.loads(body)]
            kept = [row for row in rows if row[11]][-question.limit :] if question.closed else rows
            if self._oracle.are_rows(series["rows"], kept, asked, as_of_ms, columns=11):
                return
            printed = printed or kept
        raise AssertionError(("not the exchange's", question, series["rows"][-2:], (printed or [])[-2:], as_of_ms))
