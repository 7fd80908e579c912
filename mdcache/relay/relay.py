"""Who listens to what, and what they are sent (docs/design.md#relay)."""

import math
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from mdcache.cache.book_starts import BookStarts
from mdcache.clock import Clock
from mdcache.events import BackgroundTask, BackgroundTaskFailed, Events
from mdcache.exchange.markets import Market
from mdcache.exchange.symbols import MarketSymbols
from mdcache.exchange.topics import StreamRoute, TopicKind, kline_mark, may_exist, topic_kind, topic_route, wire_name
from mdcache.relay.finals import TopicCandles, Unfinished
from mdcache.relay.frames import RelayedFrame
from mdcache.relay.kept_seconds import KeptSeconds
from mdcache.relay.kept_topics import KeptTopics
from mdcache.relay.outbox import Outbox, SentCounts, Topic
from mdcache.relay.paced_frames import PacedFrames
from mdcache.relay.ports import ListenedStreams, Listener
from mdcache.relay.sliced_work import SlicedWork
from mdcache.relay.topic_room import TopicRoom, names_nothing
from mdcache.upstream.streams.ports import FrameRelay
from mdcache.upstream.timer import Timer

POLICY, FAILED, RESTART, TRY_LATER = 1008, 1011, 1012, 1013  # codes of RFC 6455 and its registry
_REASON_BYTES = 123  # of a closing frame

_FLUSH_EVERY_S, _LOOK_EVERY_S = 0.02, 1.0
_REMOVED_AT_ONCE = 32
_GIVE_WAY_AT_ONCE = 1_024  # topics: as many as a listener may ask for


@dataclass(frozen=True, slots=True)
class RelayStatus:
    """What a market's listeners listen to and were sent.

    Since the start: `frames`: sent to a listener, each counted; `conflated`: left out, as a newer one said all;
    `repeated`: final frames that came again; `mended`: final frames that were made of a read row; `closed`: connections
    of listeners that were closed, by reason.
    """

    market: str
    topics: int
    frames: int
    conflated: int
    repeated: int
    mended: int
    closed: Mapping[str, int]


CLOSE_REASONS = ("lost", "slow", "failed", "full")


@dataclass(slots=True)
class _Counts(SentCounts):
    repeated: int = 0
    mended: int = 0
    closed: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(CLOSE_REASONS, 0)))


@dataclass(slots=True)
class _Listened:
    """A topic with its listeners. `key`: its own, which all outboxes share; `owner`: on whose account it is.

    `candles`: whose final frames were sent, or not yet; `seen`: it had a frame; `refusal`: the exchange's.
    """

    key: Topic
    kind: TopicKind
    owner: Listener
    outboxes: dict[Listener, Outbox] = field(default_factory=dict)
    candles: TopicCandles = field(default_factory=TopicCandles)
    seen: bool = False
    refusal: tuple[int, str] | None = None


class Relay:
    """Sends each frame to those who listen to its topic.

    Args:
        open_streams: Opens the streams, whose frames come to this relay.
        clock: Measures how long topics are kept.
        events: Told of listeners that fail.
        book_starts: Told who follows order books, and of their first events.
        symbols: Returns those known of a market.
        final_within_s: Returns how long after a close a market's final frames may come; later, they count as lost.
    """

    def __init__(
        self,
        open_streams: Callable[[FrameRelay], ListenedStreams],
        clock: Clock,
        events: Events,
        book_starts: BookStarts,
        symbols: Callable[[Market], MarketSymbols],
        final_within_s: Callable[[Market], float],
    ) -> None:
        self._final_within_s = final_within_s
        self.streams = open_streams(self)
        self.seconds = KeptSeconds()
        self._book_starts = book_starts
        self._symbols = symbols
        self._clock = clock
        self._events = events
        self._topics: dict[Topic, _Listened] = {}
        self._outboxes: dict[Listener, Outbox] = {}
        self._counts = {market: _Counts() for market in Market}
        self._rooms = {market: TopicRoom() for market in Market}
        self._kept = KeptTopics(self.streams, clock)
        self._work = SlicedWork(clock)
        self._paced = PacedFrames(clock, self._send)
        self._routes: Counter[tuple[Market, StreamRoute]] = Counter()  # topics of each
        self._unfinished: deque[tuple[float, Topic, int]] = deque(maxlen=10_000)  # (until when, topic, open time)
        self._timer, self._next_s = Timer(clock, self._tick), math.inf

    # ------------------------------------------------------------------------------------ listeners

    def subscribe(self, listener: Listener, market: Market, topics: Iterable[str]) -> None:
        """Send a listener the frames of topics from now on; the connection upstream follows.

        Names that can't exist never leave the daemon. A listener whose topics find no room is closed.
        """
        outbox = self._outboxes.get(listener) or self._outboxes.setdefault(
            listener, Outbox(listener, market, self._counts)
        )
        for topic in topics:
            key = market, topic
            found = self._topics.get(key) or self._begin(key, listener)
            if found is None:
                self._close(market, listener, TRY_LATER, "no room for more topics", "full")
                return
            outbox.topics[found.key] = None
            found.outboxes[listener] = outbox
            if found.refusal is not None:
                listener.tell(*found.refusal)
            if found.kind is TopicKind.LOSSLESS:
                self._book_starts.begin(market, topic)

    def unsubscribe(self, listener: Listener, market: Market, topics: Iterable[str]) -> None:
        """Send it no more of them."""
        outbox = self._outboxes.get(listener)
        if outbox is None:
            return
        for topic in topics:
            self._remove(outbox, (market, topic))
        if not outbox.topics:
            self.leave(listener)

    def leave(self, listener: Listener) -> None:
        """Send a listener nothing more: its connection has ended. May be repeated."""
        outbox = self._outboxes.pop(listener, None)
        if outbox is not None:
            outbox.left = True
            self._work.add(self._remove_all(outbox))

    def refusal(self, market: Market) -> str | None:
        """Return why a new connection must wait: its topics would be silent, not for Binance's reasons."""
        if market not in self.streams.markets:
            return f"streams of {market} are switched off here"
        refusal = self.streams.refusal(market)
        return None if refusal is None else _cut(refusal)

    def status(self) -> tuple[RelayStatus, ...]:
        """Return the current state of each market."""
        return tuple(
            RelayStatus(
                market=market.value,
                topics=self._rooms[market].taken,
                frames=counts.sent,
                conflated=counts.conflated,
                repeated=counts.repeated,
                mended=counts.mended,
                closed=dict(counts.closed),
            )
            for market, counts in self._counts.items()
        )

    def aclose(self) -> None:
        """Stop the timer, and all work."""
        self._timer.set(math.inf)
        self._work.cancel()
        self._paced.cancel()

    # --------------------------------------------------------------------------- called by streams

    def relay(self, market: Market, topic: str, data: bytes) -> None:
        """Send a frame to those who listen to its topic; one that is slow, or fails, costs the others nothing."""
        key = market, topic
        found = self._topics.get(key)
        if found is None:
            return
        final = False
        if not found.seen:
            found.seen, found.refusal = True, None
            self._rooms[market].trust(found.owner, topic)
        if found.kind is TopicKind.LOSSLESS:
            self._book_starts.note(market, topic)
        if found.kind is TopicKind.KLINE and (mark := kline_mark(data)) is not None:
            final = mark.final
            if final and not found.candles.finish(mark.open_ms):
                self._counts[market].repeated += 1
                return
            if final:
                self.seconds.note(market, topic, data)
            if not final and (before := found.candles.note(mark.open_ms, data)) is not None:
                self._unfinished.append((self._clock.now() + self._final_within_s(key[0]), key, before))
        frame = RelayedFrame(market, topic, data, final)
        if final or found.kind is TopicKind.LOSSLESS:
            self._paced.send(key, frame)
        elif self._paced.offer(key, frame):
            self._counts[market].conflated += len(found.outboxes)

    def lost(self, market: Market, topics: Collection[str], reason: str) -> None:
        """Close the connections of all who listen to topics of which frames are missing, or do not come any more."""
        for topic in topics:
            found = self._topics.get((market, topic))
            if found is not None and found.outboxes:
                self._paced.drop(found.key)
                if may_exist(topic):
                    self._kept.expect(found.key)
                    self._wake(_LOOK_EVERY_S)
                outboxes, found.outboxes = found.outboxes, {}  # they are sent nothing after what is missing
                self._work.add(self._close_all(market, outboxes, reason))

    def refused(self, market: Market, topic: str, code: int, msg: str) -> None:
        """Tell all who listen to a topic what the exchange says about it, once."""
        found = self._topics.get((market, topic))
        if found is not None and found.refusal is None:
            found.refusal, found.seen = (code, f"{wire_name(topic)}: {msg}"), False
            self._rooms[market].doubt(found.owner, topic)
            for outbox in found.outboxes.values():
                outbox.listener.tell(*found.refusal)

    # -------------------------------------------------------------------------------------- mending

    def pop_unfinished(self) -> list[Unfinished]:
        """Return the candles whose final frame has not come in time since a newer candle has begun, once."""
        now_s, found = self._clock.now(), list[Unfinished]()
        for _ in range(len(self._unfinished)):
            until_s, (market, topic), open_ms = self._unfinished.popleft()
            if until_s > now_s:
                self._unfinished.append((until_s, (market, topic), open_ms))
            elif self.last_frame(market, topic, open_ms) is not None:
                found.append((market, topic, open_ms))
        return found

    def last_frame(self, market: Market, topic: str, open_ms: int) -> bytes | None:
        """Return the last frame of a candle whose final frame may still be sent."""
        found = self._topics.get((market, topic))
        return None if found is None else found.candles.last(open_ms)

    def send_final(self, market: Market, topic: str, open_ms: int, data: bytes) -> None:
        """Send the final frame of a candle in the place of the exchange's."""
        found = self._topics.get((market, topic))
        if found is not None and found.candles.finish(open_ms):
            self._counts[market].mended += 1
            self._paced.send(found.key, RelayedFrame(market, topic, data, final=True))

    # ----------------------------------------------------------------------------------------- work

    def _begin(self, key: Topic, listener: Listener) -> _Listened | None:
        """Begin with a topic, on the account of a listener; return nothing if there is no room for it."""
        market, topic = key
        room = self._rooms[market]
        if not room.admits(listener) and not self._make_room(market, listener):
            return None
        found = self._topics[key] = _Listened(key, topic_kind(topic), listener)
        room.take(listener)
        if names_nothing(self._symbols(market), topic):
            room.doubt(listener, topic)
        if may_exist(topic):
            self._routes[market, topic_route(market, topic)] += 1
            self.streams.listen(market, topic)
        return found

    def _make_room(self, market: Market, listener: Listener) -> bool:
        """Close listeners whose topics have to give way; return whether that helps."""
        room = self._rooms[market]
        while not room.admits(listener):
            topics = room.to_give_way(listener)[:_GIVE_WAY_AT_ONCE]
            if not topics:
                return False
            for topic in topics:
                found = self._topics.get((market, topic))
                outboxes = () if found is None else tuple(found.outboxes.values())
                for outbox in outboxes:
                    if outbox.listener is listener:
                        continue
                    if not outbox.left:
                        self._close(market, outbox.listener, TRY_LATER, "no room for names that no symbol has", "full")
                    self._remove(outbox, (market, topic))  # at once, not when there is time for it
        return True

    def _send(self, frame: RelayedFrame) -> None:
        key = frame.market, frame.topic
        found = self._topics.get(key)
        if found is None:  # who it was for has been closed
            return
        for outbox in tuple(found.outboxes.values()):
            try:
                if outbox.left:
                    continue
                if not outbox.send(key, found.kind, frame):
                    self._close(key[0], outbox.listener, POLICY, "too slow for its topics", "slow")
                elif outbox.holds:
                    self._wake(_FLUSH_EVERY_S)
            except Exception as error:  # noqa: BLE001 - reported; the others get their frame
                self._fail(key[0], outbox, error)

    def _close(self, market: Market, listener: Listener, code: int, reason: str, cause: str) -> None:
        self._counts[market].closed[cause] += 1
        self.leave(listener)
        listener.close(code, _cut(reason))

    def _close_all(self, market: Market, outboxes: Mapping[Listener, Outbox], reason: str) -> Iterator[None]:
        for outbox in outboxes.values():
            if not outbox.left:
                try:
                    self._close(market, outbox.listener, RESTART, reason, "lost")
                except Exception as error:  # noqa: BLE001 - reported; the others are closed
                    self._events.emit(BackgroundTaskFailed(BackgroundTask.RELAY, f"{type(error).__name__}: {error}"))
            yield

    def _fail(self, market: Market, outbox: Outbox, error: Exception) -> None:
        self._events.emit(BackgroundTaskFailed(BackgroundTask.RELAY, f"{type(error).__name__}: {error}"))
        self._close(market, outbox.listener, FAILED, "internal error", "failed")

    def _wake(self, seconds: float) -> None:
        at_s = self._clock.now() + seconds
        if at_s < self._next_s:
            self._next_s = at_s
            self._timer.set(at_s)

    def _tick(self) -> None:
        """Send what was held back, and let go of topics whose return is no longer awaited."""
        self._next_s = math.inf
        for outbox in [each for each in self._outboxes.values() if each.holds]:
            try:
                outbox.flush()
            except Exception as error:  # noqa: BLE001 - reported; the others get their frames
                self._fail(outbox.market, outbox, error)
        self._kept.release(self._topics)
        if any(each.holds for each in self._outboxes.values()):
            self._wake(_FLUSH_EVERY_S)
        elif self._kept:
            self._wake(_LOOK_EVERY_S)

    def _remove_all(self, outbox: Outbox) -> Iterator[None]:
        while outbox.topics:
            for key in tuple(islice(outbox.topics, _REMOVED_AT_ONCE)):
                self._remove(outbox, key)
            yield

    def _remove(self, outbox: Outbox, key: Topic) -> None:
        market, topic = key
        outbox.forget(key)
        outbox.topics.pop(key, None)
        found = self._topics.get(key)
        if found is None:
            return
        if found.outboxes.get(outbox.listener) is outbox:  # else it has come back meanwhile
            del found.outboxes[outbox.listener]
        if not found.outboxes:
            del self._topics[key]
            self._paced.drop(key)
            self._rooms[market].give_back(found.owner, topic)
            self._book_starts.end(market, topic)
            if may_exist(topic):
                self._unlisten(market, topic)
        elif found.owner is outbox.listener:
            heir = next(reversed(found.outboxes))
            self._rooms[market].move(topic, found.owner, heir)
            found.owner = heir

    def _unlisten(self, market: Market, topic: str) -> None:
        route = market, topic_route(market, topic)
        self._routes[route] -= 1
        if not self._routes[route]:
            self._kept.keep(market, topic)
            self._wake(_LOOK_EVERY_S)
        if (market, topic) not in self._kept:
            self.streams.unlisten(market, topic)


def _cut(reason: str) -> str:
    return reason.encode()[:_REASON_BYTES].decode("utf-8", "ignore")
