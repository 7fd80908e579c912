"""The fast lane and the plain way answer any stream of bytes alike, split anywhere, whatever happens between.

Two daemons get the same bytes in the same pieces; one has a fast lane that knows nothing, ever. Everything that may
change an answer changes at random: time, tails, revisions, the used weight, the exchange's clock, the `Date`, purges,
evictions, a client that does not read.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from uvicorn import Config
from uvicorn.server import ServerState

from mdcache.cache.answers import Caller
from mdcache.cache.kline_answers import KlineAnswer
from mdcache.candles.freshness import FreshnessDirectives
from mdcache.clock import Clock
from mdcache.events import Events
from mdcache.exchange.klines import KlineQuestion
from mdcache.exchange.markets import Market
from mdcache.serving.binance.reply import DefaultHeaders, ReadyReply
from mdcache.serving.http.connection import ClientConnection
from mdcache.serving.http.fast_lane import FastLane
from mdcache.telemetry.gauges import GaugeSources
from mdcache.telemetry.metrics import Metrics
from mdcache.upstream.exchange_clock import ClockSample, ExchangeClocks, TimeRead
from tests.support.examples import examples
from tests.support.serving_fakes import NOW_MS
from tests.support.serving_harness import ServingHarness

HALF_A_TRIP_S = 0.01
TTL_MS = 5_000
SIZES = (1, 20, 90)  # rows: below what is compressed, below and above what is joined to its head
GETS = [
    f"GET /api/v3/klines?symbol=BTCUSDT&interval=1m&limit={limit}{end} HTTP/1.1\r\n{fields}\r\n".encode()
    for limit in SIZES
    for end in ("", "&endTime=1700000000000")
    for fields in (
        "Host: x\r\n",
        "Host: x\r\nAccept-Encoding: gzip\r\n",
        "Host: x\r\nIf-None-Match: *\r\nX-MDCache-Client: engine\r\n",
        "Host: x\r\nCache-Control: max-age=1\r\n",
        f"Host: x\r\nX-MDCache-Min-As-Of: {NOW_MS + 1_000}\r\n",
        "Host: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n",
        "Host: x\r\nConnection: close\r\n",
        "Host: x\r\nX-MBX-APIKEY: one\r\n",
        "Host: x\r\nx-mbx-apikey:two\r\nAccept-Encoding: gzip\r\n",
    )
]
CHANGES = ("tail", "revision", "weight", "correction", "date", "purge", "evict")
KEPT = [data for data in GETS if not any(word in data for word in (b"Cache-Control", b"Min-As-Of", b"close"))]
OTHERS = [
    b"POST /api/v3/klines HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
    b"HEAD /api/v3/klines?symbol=BTCUSDT&interval=1m&limit=1 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /api/v3/klines?symbol=BTCUSDT&interval=1m&limit=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
    b"GET /api/v3/klines?symbol=BTCUSDT&interval=1m&limit=1 HTTP/1.0\r\n\r\n",
    b"GET /api/v3/klines?symbol=BTCUSDT&interval=1m&limit=1 HTTP/1.1\r\nHost: x\nX: y\r\n\r\n",
    b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\r\n",
    b"nonsense\r\n\r\n",
]


class NoLane(FastLane):
    """Knows nothing."""

    def answer(
        self, raw: bytes, default_headers: DefaultHeaders, peer: tuple[str, int] | None = None
    ) -> ReadyReply | None:
        return None


class CountingLane(FastLane):
    """Counts what it answers."""

    answered = 0

    def answer(
        self, raw: bytes, default_headers: DefaultHeaders, peer: tuple[str, int] | None = None
    ) -> ReadyReply | None:
        reply = super().answer(raw, default_headers, peer)
        self.answered += reply is not None
        return reply


class Wire(asyncio.Transport):
    """A transport that keeps what is sent, and what arrives while nobody reads."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 40_000), "sockname": ("127.0.0.1", 8_700)})
        self.sent = b""
        self.arrived: list[bytes] = []
        self.reading = True
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += b"" if self.closing else bytes(data)

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    abort = close

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return 0


class Side:
    """A daemon, and one connection to it at a time."""

    def __init__(self, lane: type[FastLane]) -> None:
        self.offset_ms = 0.0
        self.house = house = ServingHarness(
            clients={"engine": "high"}, compress="on", clocks=self._clocks, recorder=self._metrics
        )
        self.clocks = cast("ExchangeClocks", house.gates.clocks)
        house.candles.answer = self.answer  # type: ignore[method-assign] # in its place
        self.lane = lane(house.binance.hits, house.clock, house.listeners.limits)
        house.app.fast_lanes = dict.fromkeys((True, False), self.lane)
        self.state = ServerState()
        self.date = 0
        self.tick_date()
        self.connect()

    def _clocks(self, clock: Clock) -> ExchangeClocks:
        async def fetch(_: TimeRead) -> ClockSample:
            return ClockSample(NOW_MS - 1_000_000 + self.offset_ms, 2 * HALF_A_TRIP_S, 0)

        return ExchangeClocks(clock=clock, events=Events(), fetch=cast("Any", fetch))

    def _metrics(self, clock: Clock) -> Metrics:
        def none() -> Any:
            return {}

        def zero() -> int:
            return 0

        gauges = GaugeSources(none, zero, none, zero, zero, zero, zero, none, none, none, zero, none)
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry, "1", ["engine"], gauges, clock)
        return self.metrics

    async def answer(self, question: KlineQuestion, directives: FreshnessDirectives, caller: Caller) -> KlineAnswer:
        del directives, caller  # there are no others than TTL_MS answers
        now = self.clocks.now(Market.SPOT)
        settled = question.end_ms is not None
        series = self.house.series
        row = b'[%d,"%d"],' % (series.settled_version, 0 if settled else series.tail_version)
        as_of_ms = now.ms if settled else now.ms - 300
        return self.house.answer(
            body=b"[" + row * (question.limit * 7) + b"0]",
            settled=settled,
            as_of_ms=as_of_ms,
            valid_until_ms=as_of_ms + (3_600_000 if settled else TTL_MS),
            series=series,
        )

    def connect(self) -> None:
        house = self.house

        class Serving(ClientConnection):
            fast_lanes = house.app.fast_lanes

        config = Config(
            house.app, http=Serving, lifespan="off", log_config=None, access_log=False, proxy_headers=False,
            server_header=False, interface="asgi3",
        )  # fmt: skip
        config.load()
        self.wire = Wire()
        self.connection = Serving(config, self.state, {})
        self.connection.connection_made(self.wire)

    def tick_date(self) -> None:
        self.date += 1
        self.state.default_headers = [(b"date", b"%d" % self.date), (b"server", b"mdcache")]

    async def send(self, pieces: Sequence[bytes], *, hurried: bool = False) -> None:
        """Send `pieces`, over a new connection if the daemon has closed the last one; `hurried`: all at once."""
        if self.wire.closing:
            self.connection.connection_lost(None)
            self.connect()
        for piece in pieces:
            self.wire.arrived.append(piece)
            if not hurried:
                await self.work()
        await self.work()

    def happenings(self) -> dict[str, Callable[[float], object]]:
        """All that may change an answer, or the connection."""
        return {
            "wait": self.wait,
            "tail": lambda _: self.change(tail=1),
            "revision": lambda _: self.change(settled=1),
            "weight": lambda amount: setattr(self.house.gates, "used_weight", int(amount * 100)),
            "correction": self.correct_clock,
            "date": lambda _: self.tick_date(),
            "purge": lambda _: self.purge(),
            "evict": lambda _: self.evict(),
            "deaf": lambda _: self.connection.pause_writing(),
            "reads": lambda _: self.connection.resume_writing(),
        }

    def wait(self, seconds: float) -> None:
        self.house.clock.seconds += seconds

    def change(self, *, tail: int = 0, settled: int = 0) -> None:
        self.house.series.tail_version += tail
        self.house.series.settled_version += settled

    def correct_clock(self, amount: float) -> None:
        """Set the exchange's clock by seconds, and send a `Date` that has it measured."""
        self.offset_ms += (amount - 1) * 6_000
        far_ms, now_s = self.clocks.now(Market.SPOT).ms + 1_000_000, self.house.clock.seconds
        self.clocks.check_date(Market.SPOT, far_ms, 0, now_s, now_s)

    def purge(self) -> None:
        for key in list(self.house.readies._representations):
            self.house.readies._drop(key)

    def evict(self) -> None:
        for key in list(self.house.readies._representations)[:1]:
            self.house.readies.evict(("ready", key))

    async def work(self) -> None:
        """Deliver what arrived, and let the daemon work on it."""
        for _ in range(12):
            while self.wire.arrived and self.wire.reading and not self.wire.closing:
                self.connection.data_received(self.wire.arrived.pop(0))
            await asyncio.sleep(0)

    async def end(self) -> None:
        self.connection.connection_lost(None)
        for task in self.state.tasks:
            task.cancel()
        await self.clocks.aclose()
        await asyncio.sleep(0)

    def counted(self) -> dict[str, float]:
        """All that is counted of requests, without how long they took."""
        kept = ("mdcache_requests_total", "mdcache_request_seconds_count", "mdcache_tail_age_seconds")
        return {
            f"{sample.name}{sorted(sample.labels.items())}": sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name.startswith(kept)
        }


@dataclass
class Step:
    """Bytes to send, cut at these places; or something that happens, and by how much."""

    what: str
    data: bytes = b""
    cuts: tuple[int, ...] = ()
    amount: float = 0.0
    hurried: bool = False

    def pieces(self) -> list[bytes]:
        ends = sorted({0, len(self.data), *self.cuts})
        return [self.data[a:b] for a, b in pairwise(ends)]

    async def take(self, side: Side) -> None:
        if self.what == "send":
            await side.send(self.pieces(), hurried=self.hurried)
        else:
            side.happenings()[self.what](self.amount)
            await side.work()


def anything(rng: random.Random) -> Step:
    """One to three messages, right or wrong, in up to four pieces."""
    parts = [rng.choice([*GETS, *OTHERS]) for _ in range(rng.randint(1, 3))]
    data = bytearray(b"".join(parts))
    for _ in range(rng.choice([0, 0, 1, 2])):
        data[rng.randrange(len(data))] = rng.choice(b"\r\n :/?" + rng.randbytes(2))
    return Step("send", bytes(data), tuple(rng.randrange(len(data)) for _ in range(rng.choice([0, 0, 1, 3]))))


def history(rng: random.Random, length: int) -> list[Step]:
    """Two requests, asked so often that they are known, and whatever may happen between."""
    polled = [Step("send", rng.choice(kind)) for kind in (KEPT, KEPT, GETS)]
    steps: list[Step] = []
    while len(steps) < length:
        draw = rng.random()
        if draw < 0.55:
            steps.append(polled[0] if draw < 0.4 else rng.choice(polled))
        elif draw < 0.85:
            steps.append(Step("wait", amount=rng.choice([0.0004, 0.0004, 0.001, 0.03, 0.07, 0.1, rng.random()])))
        elif draw < 0.97:
            amount = rng.choice([0.0, 0.1, 0.9, 1.0, 1.1, 2.0])
            steps += [Step(rng.choice(CHANGES), amount=amount), rng.choice(polled)]
        elif draw < 0.975:  # a second request while the first is under way
            cut = Step("send", polled[2].data + polled[0].data, (len(polled[2].data),), hurried=True)
            steps.append(cut)
        elif draw < 0.985:
            steps += [Step("deaf"), rng.choice(polled), anything(rng), Step("reads")]
        else:
            steps.append(anything(rng))
    return steps


async def play(steps: list[Step]) -> int:
    """Play `steps` on both sides; return how many the fast lane answered."""
    fast, plain = sides = Side(CountingLane), Side(NoLane)
    for side in sides:
        await side.clocks.ensure(Market.SPOT)
    for step in steps:
        for side in sides:
            await step.take(side)
        assert fast.wire.sent == plain.wire.sent, step
        assert fast.wire.closing == plain.wire.closing, step
        assert fast.metrics.minute() == plain.metrics.minute(), step
    counted, expected = fast.counted(), plain.counted()
    for name in [name for name in expected if name.startswith("mdcache_tail_age_seconds_sum")]:
        hits = expected[name.replace("_sum", "_count")]
        difference = abs(counted.pop(name) - expected.pop(name))
        corrected = any(
            step.what == "correction" for step in steps
        )  # the exchange's time may stand still, ours goes on
        assert corrected or difference <= 0.001 * hits  # one to the millisecond, one exactly
    assert counted == expected
    for side in sides:
        await side.end()
    return fast.lane.answered if isinstance(fast.lane, CountingLane) else 0


@given(seed=st.integers(0, 2**32))
@examples(25, 500)
def test_any_stream_of_bytes(seed: int) -> None:
    asyncio.run(play(history(random.Random(seed), 150)))


async def test_the_fast_lane_takes_part() -> None:
    wait = Step("wait", amount=0.0004)
    assert await play([Step("send", GETS[0]), wait] * 10) > 5


@pytest.mark.parametrize("request_bytes", [GETS[0], GETS[3], GETS[7]], ids=["open candle", "max-age", "settled"])
async def test_at_any_moment(request_bytes: bytes) -> None:
    """Every boundary of a reply's life is crossed within a few milliseconds, between two tenths of a second, too."""
    steps = [Step("send", request_bytes), Step("wait", amount=0.0087)] * 600
    await play([Step("wait", amount=0.0277), *steps, *[Step("wait", amount=0.2)] * 300])
