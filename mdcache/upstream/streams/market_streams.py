"""One market's topics, spread over as many connections as they need."""

import asyncio
import random
from collections.abc import Collection
from dataclasses import dataclass

from mdcache.background_work import cancel_all, supervise
from mdcache.clock import Clock
from mdcache.events import BackgroundTask, BackgroundTaskFailed, Events
from mdcache.exchange.markets import Market
from mdcache.exchange.streams import MINI_TICKERS
from mdcache.exchange.topics import StreamRoute, topic_route
from mdcache.upstream.streams.dialer import Dialer
from mdcache.upstream.streams.limits import LIMITS, TOPICS_A_CONNECTION
from mdcache.upstream.streams.path_choice import PathChoice
from mdcache.upstream.streams.ports import FrameTakers
from mdcache.upstream.streams.shard import Shard, ShardContext

_FED_S = 5.0  # more than two cadences of the slowest topic
_SILENT_S = 60.0


@dataclass(frozen=True, slots=True)
class MarketStreamsStatus:
    """A market's streams. Topics are those that feed candles, not those that are only listened to.

    `fed`: those with a frame in the last 5 s; `silent`: those without any for a minute, since it is wanted at least.
    `frames`, `rejected`: since the start; a rejected frame proved nothing. `retry_in_s`: 0 unless a connect waits after
    trouble.
    """

    market: str
    path: str
    connections: int
    topics: int
    fed: int
    silent: int
    frames: int
    rejected: int
    connects_last_minute: int
    connects_last_hour: int
    retry_in_s: float
    last_error: str


class MarketStreams:
    """The streams of one market. While its main route has topics, `!miniTicker@arr` is one of them, once."""

    def __init__(
        self,
        market: Market,
        base_url: str,
        *,
        clock: Clock,
        rng: random.Random,
        events: Events,
        dialer: Dialer,
        takers: FrameTakers,
    ) -> None:
        self._market = market
        self._clock = clock
        self._events = events
        self._dialer = dialer
        self._consumer, self._relay = takers.consumer, takers.relay
        self._paths = {route: PathChoice(paths) for route, paths in LIMITS[market].paths.items()}
        self._shards: list[Shard] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._shard_of: dict[str, Shard] = {}
        self._with_tickers: Shard | None = None
        self._tickers_wanted = False
        self._last_error = ""
        self._frames = self._rejected = 0
        self._contexts = {
            route: ShardContext(
                market=market,
                base_url=base_url,
                paths=paths,
                clock=clock,
                rng=rng,
                events=events,
                dialer=dialer,
                take=self._take,
                interrupt=lambda: takers.consumer.interrupt(market),
                relay=self._relay_frame,
                lost=lambda topics, reason: takers.relay.lost(market, topics, reason),
                refused=lambda topic, code, msg: takers.relay.refused(market, topic, code, msg),
            )
            for route, paths in self._paths.items()
        }

    def subscribe(self, topic: str) -> None:
        """Want a topic."""
        if topic in self._shard_of:
            return
        if topic == MINI_TICKERS:
            self._tickers_wanted = True
        else:
            self._shard_of[topic] = shard = self._with_room(topic_route(self._market, topic))
            shard.add(topic)
        self._place_tickers()

    def unsubscribe(self, topic: str) -> None:
        """Want it no more; a connection without topics is closed."""
        if topic == MINI_TICKERS:
            self._tickers_wanted, shard = False, self._with_tickers
            self.unlisten(topic)
        else:
            shard = self._shard_of.pop(topic, None)
        if shard is None:
            return
        if topic != MINI_TICKERS:
            shard.remove(topic)
        tickers_wanted = self._tickers_wanted and shard is self._with_tickers
        if not tickers_wanted and shard.topics.keys() <= {MINI_TICKERS}:
            shard.remove(MINI_TICKERS)
            self._shards.remove(shard)
            self._last_error = shard.last_error
            self._with_tickers = None if shard is self._with_tickers else self._with_tickers
            self._place_tickers()

    def listen(self, topic: str) -> None:
        """Relay the frames of a topic that is wanted."""
        if (shard := self._find(topic)) is not None:
            shard.relaying.topics.add(topic)

    def unlisten(self, topic: str) -> None:
        """Relay them no more."""
        if (shard := self._find(topic)) is not None:
            shard.relaying.topics.remove(topic)

    def refusal(self) -> str | None:
        """Return why frames would not come now: a connection is gone for long, or none may be opened."""
        down = next((shard.relaying.down for shard in self._shards if shard.relaying.down is not None), None)
        if down is not None or any(shard.connections for shard in self._shards):
            return down
        refusal = self._dialer.refusal(self._market)
        return None if refusal is None else f"no connection to Binance: {refusal}"

    def renew(self, topic: str) -> None:
        """Subscribe to a dead topic again."""
        shard = self._shard_of.get(topic)
        if shard is not None:
            shard.renew(topic)

    def alive(self, within_s: float) -> bool:
        """Return whether a frame was accepted lately on any connection."""
        now_s = self._clock.now()
        return any(shard.alive(now_s, within_s) for shard in self._shards)

    def silent_s(self, topic: str) -> float | None:
        """Return for how long a topic had no accepted frame, since it is wanted at least; `None`: it is not."""
        shard = self._find(topic)
        if shard is None:
            return None
        return self._clock.now() - shard.accepted_s.get(topic, shard.topics[topic])

    def status(self, followed: Collection[str]) -> MarketStreamsStatus:
        """Return the current state; `followed`: the topics that series follow."""
        now_s = self._clock.now()
        minute, hour = self._dialer.pace.begun(self._market, now_s)
        shards = [(topic, self._shard_of[topic]) for topic in followed if topic in self._shard_of]
        accepted = [shard.accepted_s.get(topic) for topic, shard in shards]
        wanted_s = [shard.topics[topic] for topic, shard in shards]
        last = [one if one is not None else since for one, since in zip(accepted, wanted_s, strict=True)]
        return MarketStreamsStatus(
            market=self._market.value,
            path=self._paths[StreamRoute.MARKET].current,
            connections=sum(shard.connections for shard in self._shards),
            topics=len(shards),
            fed=sum(one is not None and now_s - one <= _FED_S for one in accepted),
            silent=sum(now_s - one >= _SILENT_S for one in last),
            frames=self._frames,
            rejected=self._rejected,
            connects_last_minute=minute,
            connects_last_hour=hour,
            retry_in_s=self._dialer.pace.delay_s(self._market, now_s) if self._shards else 0.0,
            last_error=next((shard.last_error for shard in self._shards if shard.last_error), self._last_error),
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await cancel_all(*self._tasks)

    def _find(self, topic: str) -> Shard | None:
        return self._with_tickers if topic == MINI_TICKERS else self._shard_of.get(topic)

    def _with_room(self, route: StreamRoute) -> Shard:
        """Return a connection of a route that has room for another topic."""
        fitting = (each for each in self._shards if each.route is route and len(each.topics) < TOPICS_A_CONNECTION)
        return next(fitting, None) or self._start(route)

    def _start(self, route: StreamRoute) -> Shard:
        shard = Shard(route, self._contexts[route])
        self._shards.append(shard)
        task = supervise(BackgroundTask.STREAMS, shard.run, self._clock, self._events)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return shard

    def _place_tickers(self) -> None:
        if self._with_tickers is not None:
            return
        if self._tickers_wanted:
            self._with_tickers = self._with_room(StreamRoute.MARKET)
        else:
            self._with_tickers = next((each for each in self._shards if each.route is StreamRoute.MARKET), None)
        if self._with_tickers is not None:
            self._with_tickers.add(MINI_TICKERS)

    def _relay_frame(self, topic: str, data: bytes) -> None:
        """Hand a frame to those who listen; what goes wrong there must not cost the connection."""
        try:
            self._relay.relay(self._market, topic, data)
        except Exception as error:  # noqa: BLE001 - reported; the listeners have missed a frame
            self._events.emit(BackgroundTaskFailed(BackgroundTask.STREAMS, f"{type(error).__name__}: {error}"))
            self._relay.lost(self._market, [topic], "a frame could not be relayed")

    def _take(self, topic: str, data: bytes) -> bool:
        """Hand a frame to its consumer; what goes wrong there must not cost the connection."""
        try:
            accepted = self._consumer.take(self._market, topic, data)
        except Exception as error:  # noqa: BLE001 - reported, and the frame proves nothing
            self._events.emit(BackgroundTaskFailed(BackgroundTask.STREAMS, f"{type(error).__name__}: {error}"))
            accepted = False
            self._consumer.interrupt(self._market)
        self._frames += 1
        self._rejected += not accepted
        return accepted
