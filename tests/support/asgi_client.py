"""A whole `App` over fakes, and a client that talks ASGI to it in process."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import httpx

from mdcache.cache.answers import Answer, CacheStatus, Caller
from mdcache.cache.flights import Flights
from mdcache.cache.kline_answers import KlineAnswer
from mdcache.cache.live_tails import NoLiveTails
from mdcache.cache.purge import LocalPurge, Purge
from mdcache.cache.series_registry import SeriesRegistry
from mdcache.cache.stream_status import StreamsStatus
from mdcache.cache.symbols import SymbolTable
from mdcache.cache.warmup import Warmup
from mdcache.cache.wipes import Wipes
from mdcache.candles.freshness import FreshnessDirectives
from mdcache.candles.series import Series
from mdcache.candles.settling import SettlePolicy
from mdcache.clock import Clock, Instant
from mdcache.errors import NotCached
from mdcache.events import Event, Events
from mdcache.exchange.klines import KlineQuestion, SeriesKey
from mdcache.exchange.markets import KLINE_ENDPOINTS, Family, Market
from mdcache.results import RecentAnswers
from mdcache.serving.app import App, Handlers
from mdcache.serving.binance.handler import AnswerSources as BinanceSources
from mdcache.serving.binance.handler import BinanceHandler
from mdcache.serving.binance.ready_answers import ReadyAnswers
from mdcache.serving.binance.request import RequestParser
from mdcache.serving.hits import Hits
from mdcache.serving.listener_status import ListenersStatus
from mdcache.serving.listeners import Listeners
from mdcache.serving.native.event_streams import EventSources, EventStreams
from mdcache.serving.native.native_app import NativeApp
from mdcache.serving.native.watchers import WatcherSources
from mdcache.serving.ops.activity import Activity
from mdcache.serving.ops.allowed_hosts import AllowedHosts
from mdcache.serving.ops.operations import CommandTargets, OpsApp
from mdcache.serving.ops.status import Status, StatusSources, Upstreams
from mdcache.serving.ports import Readiness, Recorder
from mdcache.serving.routes import STREAM_PATH
from mdcache.serving.streams.handshakes import ListenerHandshakes
from mdcache.upstream.exchange_clock import ExchangeClocks
from mdcache.upstream.governor import Governor, GovernorSettings

NOW_MS = 1_790_771_371_858
KLINES = "/api/v3/klines"
QUERY = b"symbol=BTCUSDT&interval=1m"
TOKEN = "let-me-in-please"
REMOTE_PEER = ("192.0.2.7", 40_000)
LOOPBACK_PEER = ("127.0.0.1", 40_000)


class ManualClock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def now(self) -> float:
        return self.seconds

    def wall_ms(self) -> int:
        return NOW_MS + int((self.seconds - 1_000.0) * 1000 + 1e-6)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


@dataclass
class FakeExchangeClocks:
    """Exchange time: the manual clock's wall. `trouble` is raised by `ensure`."""

    clock: ManualClock
    trouble: Exception | None = None
    stuck: bool = False
    ensured: list[Market] = field(default_factory=list)

    corrections: int = 0

    def now(self, market: Market) -> Instant:
        return Instant(self.clock.wall_ms(), 5)

    def reaches_s(self, market: Market, ms: float) -> float:
        return self.clock.seconds + (ms - self.clock.wall_ms()) / 1000 - 1e-6

    async def ensure(self, market: Market) -> None:
        self.ensured.append(market)
        if self.stuck:
            await asyncio.Event().wait()
        if self.trouble is not None:
            raise self.trouble


@dataclass(frozen=True)
class Record:
    market: str
    endpoint: str
    result: str
    client: str
    seconds: float
    age_s: float | None


class FakeTally:
    """Writes a record for each hit it counts."""

    def __init__(self, record: Callable[[], None]) -> None:
        self._record = record
        self._count = 0
        self.age_s = 0.0

    @property
    def count(self) -> int:
        return self._count

    @count.setter
    def count(self, count: int) -> None:
        assert count == self._count + 1
        self._count = count
        self._record()


class FakeRecorder:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.records: list[Record] = []

    def record(self, market: str, endpoint: str, result: str, client: str, began_s: float, age_s: float | None) -> None:
        self.records.append(Record(market, endpoint, result, client, self._clock.now() - began_s, age_s))

    def hit_counts(self, market: str, endpoint: str, client: str) -> "FakeHitCounts":
        return FakeHitCounts(self, market, endpoint, client)


@dataclass
class FakeHitCounts:
    recorder: FakeRecorder
    market: str
    endpoint: str
    client: str

    def record(self, began_s: float, age_s: float | None) -> None:
        self.recorder.record(self.market, self.endpoint, "hit", self.client, began_s, age_s)

    def tally(self, age_s: float | None) -> tuple[FakeTally, float]:
        record = Record(self.market, self.endpoint, "hit", self.client, 0.0, age_s)
        return FakeTally(lambda: self.recorder.records.append(record)), 3_600.0


class FakeCandles:
    """Answers with what `make` returns, or raises it."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make
        self.asked: list[tuple[KlineQuestion, FreshnessDirectives, Caller]] = []
        self.hold: asyncio.Event | None = None
        self.called = asyncio.Event()

    async def answer(self, question: KlineQuestion, wishes: FreshnessDirectives, caller: Caller) -> KlineAnswer:
        self.asked.append((question, wishes, caller))
        self.called.set()
        if self.hold is not None:
            await self.hold.wait()
        made: KlineAnswer | Exception = self.make()
        if isinstance(made, Exception):
            raise made
        return made


@dataclass
class FakeGovernor:
    """What serving asks a governor: clocks, the used weight, the gates."""

    clocks: FakeExchangeClocks | ExchangeClocks
    used_weight: int | None = 7
    orders: list[tuple[Family, float | None]] = field(default_factory=list)

    def reported_usage(self, market: Market) -> tuple[int, int | None]:
        return self.clocks.now(market).ms // 60_000, self.used_weight

    def open_gate(self, family: Family) -> None:
        self.orders.append((family, None))

    def close_gate(self, family: Family, seconds: float) -> None:
        self.orders.append((family, seconds))


@dataclass(frozen=True)
class Response:
    status: int
    headers: Mapping[str, str]
    body: bytes


def lifetime_s(reply: Response) -> int:
    """Return the lifetime that an answer states, in seconds from its as-of."""
    return int(reply.headers["cache-control"].removeprefix("max-age=").partition(",")[0])


def series(path: str = KLINES, symbol: str = "BTCUSDT", interval: str = "1m") -> Series:
    rule = KLINE_ENDPOINTS[path]
    return Series(SeriesKey(rule.market, rule.kind, symbol, "", interval), rule, SettlePolicy(3_000, 60_000))


BODY = b'[[1790771340000,"1.0","1.0","1.0","1.0","1",1790771399999,"1",1,"1","1","0"]]'


class ServingHarness:
    """The application and everything it was given."""

    def __init__(
        self,
        *,
        clients: Mapping[str, str] | None = None,
        compress: str = "auto",
        token: str | None = TOKEN,
        memory: int = 64 << 20,
        most: int = 4_096,
        cors_origins: Sequence[str] = (),
        hosts: Sequence[str] = (),
        clocks: Callable[[Clock], ExchangeClocks] | None = None,
        recorder: Callable[[Clock], Recorder] | None = None,
        handshakes: ListenerHandshakes | None = None,
        listeners: Listeners | None = None,
    ) -> None:
        self.clock = ManualClock()
        self.clocks = FakeExchangeClocks(self.clock)
        self.recorder = FakeRecorder(self.clock)
        recording: Recorder = self.recorder if recorder is None else recorder(self.clock)
        self.gates = FakeGovernor(self.clocks if clocks is None else clocks(self.clock))
        governor = cast("Governor", self.gates)
        self.readiness = Readiness()
        self.event_log: list[Event] = []
        self.series = series()
        self.candles = FakeCandles(self.answer)
        self.history = Activity(self.clock, lambda _: self.clock.wall_ms())
        self.results: dict[str, int] = {}
        self.last_minute: dict[str, int] = {}
        self.answers = RecentAnswers({}, {}, {})
        self.upstreams = Upstreams("default", {"spot": "https://api.binance.com"}, [])
        self.streams: list[StreamsStatus] = []
        self.listening: list[ListenersStatus] = []
        events = Events(self.event_log.append, self.history)
        self.events = events
        self.library = SeriesRegistry(self.clock, events, SettlePolicy(3_000, 60_000), memory)
        self.readies = ReadyAnswers(self.library, governor.clocks, self.clock, keys_seen=most, max_answers=most)
        self.governor = Governor(
            clock=self.clock,
            rng=random.Random(1),
            events=events,
            base_urls=dict.fromkeys(Market, "http://exchange.invalid"),
            settings=GovernorSettings(),
            transport=httpx.MockTransport(lambda _: httpx.Response(500)),
            trust_env=False,
        )
        binance = BinanceHandler(
            BinanceSources(self.candles, NOTHING_ELSE, NOTHING_ELSE),
            Hits(self.readies, governor, recording),
            governor,
            recording,
            deadline_s=0.05,
            max_waiting=most,
        )
        self.binance = binance
        now = governor.clocks.now(Market.SPOT)
        wipes = Wipes(Purge(LocalPurge(self.library)), self.clock, events)
        status = Status(
            StatusSources(
                version="1.2.3",
                clock=self.clock,
                governor=self.governor,
                registry=self.library,
                flights=Flights(self.governor, self.library, self.clock, lambda _: now, events, 10.0, wipes),
                symbols=SymbolTable(self.clock),
                ready_answers=self.readies,
                readiness=lambda: self.readiness,
                settings={"MDCACHE_ADMIN_TOKEN": "(hidden)", "MDCACHE_PORT": "8700"},
                activity=self.history,
                requests=lambda: self.results,
                last_minute=lambda: self.last_minute,
                answers=lambda: self.answers,
                upstreams=self.upstreams,
                streams=lambda: self.streams,
                listeners=lambda: self.listening,
            )
        )
        self.warming = Warmup(self.candles, self.clock, events)
        ops = OpsApp(
            status=status,
            readiness=lambda: self.readiness,
            metrics_page=lambda _: (b"# page\n", "text/plain; version=0.0.4"),
            targets=CommandTargets(Purge(LocalPurge(self.library, [self.readies])), governor, self.warming),
            admin_token=token,
            hosts=AllowedHosts(hosts),
        )
        parser = RequestParser(clients or {}, compress)
        self.listeners = Listeners(1_000) if listeners is None else listeners
        answers = {STREAM_PATH: ("stream", self.event_streams().answer)}
        self.app = App(
            Handlers(binance, ops, NativeApp(answers, parser, self.clock, events, self.recorder)),
            parser,
            self.clock,
            events,
            recording,
            self.listeners,
            cors_origins=cors_origins,
        )
        self.handshakes = handshakes

    def answer(self, **changes: Any) -> KlineAnswer:
        """An answer with a tail that is half a second old and has a TTL of two."""
        as_of_ms = self.clock.wall_ms() - 500
        settled = changes.get("settled", False)
        made: dict[str, Any] = {
            "body": BODY,
            "rows": 1,
            "as_of_ms": self.clock.wall_ms() if settled else as_of_ms,
            "lifetime_s": 3_600.0 if settled else 2.0,
            "valid_until_ms": self.clock.wall_ms() + 3_600_000 if settled else as_of_ms + 2_000,
            "cache_status": CacheStatus.MISS,
            "collapsed": False,
            "stale": False,
            "settled": False,
            "immutable": False,
            "series": self.series,
            "versions": (self.series.settled_version, 0 if settled else self.series.tail_version),
        }
        return KlineAnswer(**(made | changes))

    def event_streams(self) -> EventStreams:
        """No listeners: tests/serving/native has them."""

        async def check(market: Market, symbols: tuple[str, ...]) -> None:
            raise NotCached((market, symbols))

        watchers = WatcherSources(self.candles, NoLiveTails(self.clock), self.clocks.now, self.clock, self.events)
        sources = EventSources(watchers, check, SymbolTable(self.clock).symbols, dict.fromkeys(Market, ""))
        return EventStreams(sources, self.listeners)

    async def ask(self, path: str = KLINES, query: bytes = QUERY, **rest: Any) -> Response:
        """Send one request and wait for its whole answer."""
        return await ask(self.app, path, query, **rest)


class _NothingElse:
    """No snapshots here: `test_snapshots.py` has the real ones."""

    async def answer(self, *asked: object) -> Answer:
        raise NotCached(asked)


NOTHING_ELSE = _NothingElse()


async def ask(
    app: App,
    path: str = KLINES,
    query: bytes = QUERY,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    peer: tuple[str, int] | None = LOOPBACK_PEER,
    extensions: Mapping[str, Any] | None = None,
) -> Response:
    """Send one request to `app` and wait for its whole answer."""
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query,
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()],
        "client": peer,
        "server": ("127.0.0.1", 8700),
        "extensions": dict(extensions or {}),
    }
    sent: list[Any] = []

    received = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Any:
        for message in received:
            return message
        return await asyncio.get_running_loop().create_future()  # it stays until it has its answer

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start, *rest = sent
    names = [name for name, _ in start["headers"]]
    assert len(names) == len(set(names)), "a header twice"
    return Response(
        start["status"],
        {name.decode(): value.decode("latin-1") for name, value in start["headers"]},
        b"".join(message.get("body", b"") for message in rest),
    )
