"""The consumers of the incident: each asks for 500 candles of every symbol and interval every five seconds."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import httpx

from mdcache.clock import Clock

INTERVALS = ("1m", "5m", "15m", "1h", "4h", "1d")
WEIGHT = 2  # of one spot kline call: Binance rest-api.md, GET /api/v3/klines
_LIMIT = "500"
TIMEOUT_S = 15.0
_CONNECTIONS = 32
_OK = 200
NO_ANSWER = 0

OnAnswers = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ConsumerAnswer:
    """An answer with candles: what was asked, when it was asked and answered by the exchange's clock, and the body."""

    symbol: str
    interval: str
    asked_ms: int
    answered_ms: int
    as_of_ms: int | None  # as the answer says
    body: bytes


OnAnswer = Callable[[ConsumerAnswer], None]


@dataclass(frozen=True, slots=True)
class ReplayLoad:
    """The load: `consumers` programs, each asking for all symbols and intervals every `every_s`, for `seconds`."""

    seconds: float = 120.0
    symbols: int = 20
    consumers: int = 3
    every_s: float = 5.0

    @property
    def rounds(self) -> int:
        """Return the number of rounds in which each consumer asks for everything."""
        return max(1, int(self.seconds / self.every_s))

    @property
    def questions(self) -> int:
        """Return the number of questions of all consumers."""
        return self.rounds * self.consumers * self.symbols * len(INTERVALS)


@dataclass(slots=True)
class ConsumerTally:
    """The consumers' results.

    `statuses`: answers by status, `NO_ANSWER` among them. `marked`: stale answers, labelled so. `worst_age_s`: of the
    candles a consumer had after an answer; after a refusal it still has those from before. `seconds`: time to each
    answer. `late_s`: how much later than planned a question left, at most. `answered` and `refused` count by whole
    second of the run.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    marked: int = 0
    worst_age_s: float = 0.0
    seconds: list[float] = field(default_factory=list)
    answered: Counter[int] = field(default_factory=Counter)
    refused: Counter[int] = field(default_factory=Counter)
    late_s: float = 0.0

    @property
    def asked(self) -> int:
        """Return the number of questions that have ended."""
        return self.statuses.total()

    @property
    def failed(self) -> int:
        """Return the number of questions that ended without candles."""
        return self.asked - self.statuses[_OK]


class Consumers:
    """All consumers of one address.

    `offset_ms`: how far the exchange's clock is ahead of this machine's; `on_answer` is called with each answer that
    has candles.
    """

    def __init__(
        self,
        url: str,
        symbols: Sequence[str],
        load: ReplayLoad,
        clock: Clock,
        *,
        offset_ms: int = 0,
        on_answer: OnAnswer = lambda _answer: None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.tally = ConsumerTally()
        self._url = url
        self._questions = [(symbol, interval) for symbol in symbols for interval in INTERVALS]
        self._load = load
        self._clock = clock
        self._offset_ms = offset_ms
        self._on_answer = on_answer
        self._transport = transport
        self._held_s: dict[tuple[int, str, str], float] = {}  # as-of of the candles that a consumer has
        self._start_s = 0.0

    async def run(self, start_s: float, on_answers: OnAnswers = lambda _asked, _failed: None) -> ConsumerTally:
        """Ask all questions, the first at `start_s`; call `on_answers` with how many have ended, and failed."""
        self._start_s = start_s
        async with asyncio.TaskGroup() as group:
            for number in range(self._load.consumers):
                group.create_task(self._consumer(number, on_answers))
        return self.tally

    async def _consumer(self, number: int, watch: OnAnswers) -> None:
        """Run one program: its questions are spread evenly over each round; each program starts elsewhere."""
        first = number * len(self._questions) // self._load.consumers
        questions = self._questions[first:] + self._questions[:first]
        limits = httpx.Limits(max_connections=_CONNECTIONS)
        async with (
            httpx.AsyncClient(
                base_url=self._url, timeout=TIMEOUT_S, trust_env=False, limits=limits, transport=self._transport
            ) as client,
            asyncio.TaskGroup() as group,
        ):
            for turn in range(self._load.rounds):
                for place, (symbol, interval) in enumerate(questions):
                    at_s = self._start_s + (turn + place / len(questions)) * self._load.every_s
                    await self._clock.sleep(at_s - self._clock.now())
                    self.tally.late_s = max(self.tally.late_s, self._clock.now() - at_s)
                    group.create_task(self._ask(client, number, symbol, interval, watch))

    async def _ask(self, client: httpx.AsyncClient, number: int, symbol: str, interval: str, watch: OnAnswers) -> None:
        began_s, asked_ms = self._clock.now(), self._exchange_ms()
        held = (number, symbol, interval)
        self._held_s.setdefault(held, began_s)
        query = {"symbol": symbol, "interval": interval, "limit": _LIMIT}
        try:
            response = await client.get("/api/v3/klines", params=query)
            status = response.status_code
        except httpx.TransportError:
            response, status = None, NO_ANSWER
        ended_s = self._clock.now()
        tally = self.tally
        tally.statuses[status] += 1
        tally.seconds.append(ended_s - began_s)
        counted = tally.answered if status == _OK else tally.refused
        counted[int(began_s - self._start_s)] += 1
        if response is not None and status == _OK:
            tally.marked += "detail=stale" in response.headers.get("cache-status", "")
            as_of = response.headers.get("x-mdcache-as-of")
            as_of_ms = None if as_of is None else int(as_of)
            # the exchange's own answers, which say none, are as of the request
            self._held_s[held] = began_s if as_of_ms is None else self._by_our_clock_s(as_of_ms)
            self._on_answer(ConsumerAnswer(symbol, interval, asked_ms, self._exchange_ms(), as_of_ms, response.content))
        tally.worst_age_s = max(tally.worst_age_s, ended_s - self._held_s[held])
        watch(tally.asked, tally.failed)

    def _exchange_ms(self) -> int:
        return self._clock.wall_ms() + self._offset_ms

    def _by_our_clock_s(self, as_of_ms: int) -> float:
        """Return an as-of by our clock; one in the future is now."""
        return self._clock.now() - max(0, self._exchange_ms() - as_of_ms) / 1000
