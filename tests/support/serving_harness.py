"""A whole `App` over fakes."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import httpx

from mdcache.cache.answers import CacheStatus
from mdcache.cache.audit import Audit
from mdcache.cache.audit_sample import AuditSample
from mdcache.cache.dump_loader import DumpLoader
from mdcache.cache.flights import Flights
from mdcache.cache.kline_answers import KlineAnswer
from mdcache.cache.live_tails import NoLiveTails
from mdcache.cache.preconditions import SymbolChecks
from mdcache.cache.purge import LocalPurge, Purge
from mdcache.cache.series_registry import SeriesRegistry
from mdcache.cache.stream_status import StreamsStatus
from mdcache.cache.symbols import SymbolTable
from mdcache.cache.warmup import Warmup
from mdcache.cache.wipes import Wipes
from mdcache.candles.series import Series
from mdcache.candles.settling import SettlePolicy
from mdcache.clock import Clock
from mdcache.dumps.sources import open_source
from mdcache.errors import NotCached
from mdcache.events import Event, Events
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import KLINE_ENDPOINTS, Market
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
from mdcache.serving.ops.foreign_pages import ForeignPages
from mdcache.serving.ops.operations import CommandTargets, OpsApp
from mdcache.serving.ops.status import ProfileStatus, SettingsStatus, Status, StatusSources, Upstreams
from mdcache.serving.ops.watched_readiness import WatchedReadiness
from mdcache.serving.ports import Readiness, Recorder
from mdcache.serving.routes import STREAM_PATH
from mdcache.serving.streams.handshakes import ListenerHandshakes
from mdcache.upstream.exchange_clock import ExchangeClocks
from mdcache.upstream.governor import Governor, GovernorSettings
from tests.support.asgi_client import KLINES, QUERY, Response, ask
from tests.support.serving_fakes import (
    NOTHING_ELSE,
    FakeCandles,
    FakeExchangeClocks,
    FakeGovernor,
    FakeRecorder,
    ManualClock,
)

TOKEN = "let-me-in-please"


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
        self.profile: ProfileStatus | None = None
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
        flights = Flights(self.governor, self.library, self.clock, lambda _: now, events, 10.0, wipes)
        status = Status(
            StatusSources(
                version="1.2.3",
                clock=self.clock,
                governor=self.governor,
                registry=self.library,
                flights=flights,
                symbols=SymbolTable(self.clock),
                ready_answers=self.readies,
                readiness=lambda: self.readiness,
                settings=lambda: SettingsStatus({"MDCACHE_ADMIN_TOKEN": "(hidden)", "MDCACHE_PORT": "8700"}, 0),
                activity=self.history,
                requests=lambda: self.results,
                last_minute=lambda: self.last_minute,
                answers=lambda: self.answers,
                upstreams=self.upstreams,
                profile=lambda: self.profile,
                streams=lambda: self.streams,
                listeners=lambda: self.listening,
            )
        )
        loader = DumpLoader(self.library, self.clock, events, lambda where, _: open_source(where, self.clock))
        self.warming = Warmup(self.candles, loader, self.clock, events)
        sample = AuditSample(self.library, self.clock, lambda _: now, random.Random(1))
        symbols = cast("SymbolChecks", None)  # no row is kept that could be read again
        self.audit = Audit(sample, flights, self.governor.clocks, symbols, self.clock, events, random.Random(1), 0)
        ops = OpsApp(
            status=status,
            readiness=WatchedReadiness(lambda: self.readiness, self.clock),
            metrics_page=lambda _: (b"# page\n", "text/plain; version=0.0.4"),
            targets=CommandTargets(Purge(LocalPurge(self.library, [self.readies])), governor, self.warming, self.audit),
            admin_token=token,
            foreign_pages=ForeignPages(AllowedHosts(hosts), cors_origins),
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
            self.candles.called.set()
            if self.candles.hold is not None:
                await self.candles.hold.wait()
            raise NotCached((market, symbols))

        watchers = WatcherSources(self.candles, NoLiveTails(self.clock), self.clocks.now, self.clock, self.events)
        sources = EventSources(watchers, check, SymbolTable(self.clock).symbols, dict.fromkeys(Market, ""))
        return EventStreams(sources, self.listeners)

    async def ask(self, path: str = KLINES, query: bytes = QUERY, **rest: Any) -> Response:
        """Send one request and wait for its whole answer."""
        return await ask(self.app, path, query, **rest)
