"""Up to 800 topics of a market on one connection, or for a moment on two, of which the newer takes over.

Each step looks at the connections and decides; nothing else here waits. Rules: docs/design.md#stream-connections.
"""

import asyncio
import math
import random
from collections.abc import Callable, Collection
from dataclasses import dataclass
from http import HTTPStatus

from mdcache.background_work import cancel_all
from mdcache.clock import Clock
from mdcache.errors import BodyFault
from mdcache.events import BackgroundTask, BackgroundTaskFailed, BodyRejected, Events
from mdcache.exchange.markets import Market
from mdcache.exchange.streams import MINI_TICKERS
from mdcache.exchange.topics import StreamRoute
from mdcache.stream_events import ConnectReason, StreamEnd, StreamEnded
from mdcache.upstream.streams.dialer import ConnectFailed, Dialer
from mdcache.upstream.streams.link import Link
from mdcache.upstream.streams.lives import draw_life, may_replace
from mdcache.upstream.streams.messages import Complaint, TopicFrame
from mdcache.upstream.streams.overlap import Decision, judge
from mdcache.upstream.streams.path_choice import PathChoice
from mdcache.upstream.streams.ports import StreamConnection
from mdcache.upstream.streams.relaying import Relaying
from mdcache.upstream.streams.silence import Patience, Silence

_STEP_S = 1.0
_PROVEN_S, _CALM_S = 3.0, 60.0
_LATER_S = 600.0  # until a planned replacement is tried again
_DOUBTED_EVERY_S = 3_600.0

Take = Callable[[str, bytes], bool]


@dataclass(frozen=True, slots=True)
class ShardContext:
    """What all shards of a market share.

    `take(topic, data)`: hands a frame on, and tells whether it was accepted. `interrupt()`: tells that another
    connection brings `!miniTicker@arr`. `relay(topic, data)`: hands on a frame of a topic that is listened to.
    `lost(topics, reason)`: tells that frames of such topics are missing, or do not come. `refused(topic, code, msg)`:
    tells that the exchange refuses one of them.
    """

    market: Market
    base_url: str
    paths: PathChoice
    clock: Clock
    rng: random.Random
    events: Events
    dialer: Dialer
    take: Take
    interrupt: Callable[[], None]
    relay: Callable[[str, bytes], None]
    lost: Callable[[Collection[str], str], None]
    refused: Callable[[str, int, str], None]


class Shard:
    """The topics of one connection. `topics`: those that are wanted, changed by `add` and `remove` only.

    `relaying`: relays those of them that are listened to.
    """

    def __init__(self, route: StreamRoute, context: ShardContext) -> None:
        self.route = route
        self.topics: dict[str, float] = {}  # with the time since when it is wanted
        self.accepted_s: dict[str, float] = {}  # when a topic's last frame was accepted
        self.last_error = ""
        self._c = context
        self._current: Link | None = None
        self._next: Link | None = None
        self._opening: asyncio.Task[StreamConnection] | None = None
        self._reason = ConnectReason.FIRST  # of the connection that is opened now, or was last
        self._path = ""
        self._recent: dict[str, bytes] = {}  # what was accepted last, while there are two connections
        self.relaying = Relaying(
            context.relay,
            context.lost,
            lambda: context.dialer.refusal(context.market),
            lambda: context.dialer.pace.troubled(context.market),
            context.clock.now(),
        )
        self._patience = Patience()
        self._doubted: Link | None = None  # to be replaced, as a topic of it is dead
        self._doubted_s = -math.inf
        self._woken = asyncio.Event()
        self._closing: set[asyncio.Task[None]] = set()

    # ------------------------------------------------------------------------------------- topics

    def add(self, topic: str) -> None:
        """Want a topic."""
        self.topics.setdefault(topic, self._c.clock.now())
        self._woken.set()

    def remove(self, topic: str) -> None:
        """Want it no more."""
        self.topics.pop(topic, None)
        self.accepted_s.pop(topic, None)
        self.relaying.topics.remove(topic)
        if topic == MINI_TICKERS:
            self._c.interrupt()
        self._woken.set()

    def renew(self, topic: str) -> None:
        """Subscribe again to a topic that is dead; if that does not help, replace the connection, once an hour."""
        link, now_s = self._current, self._c.clock.now()
        if link is None:
            return
        if link.subscriptions.renew(topic, now_s):
            link.wake()
        elif now_s - self._doubted_s >= _DOUBTED_EVERY_S:
            self._doubted_s, self._doubted = now_s, link
            self._woken.set()

    # -------------------------------------------------------------------------------------- state

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return (self._current is not None) + (self._next is not None)

    def alive(self, now_s: float, within_s: float) -> bool:
        """Return whether a frame was accepted lately."""
        found = self._current
        return found is not None and found.last_frame_s is not None and now_s - found.last_frame_s < within_s

    # ------------------------------------------------------------------ called by its connections

    def take(self, link: Link, frame: TopicFrame, now_s: float) -> bool:
        """Hand a frame on, and return whether it proves its topic on the connection that brought it.

        Of two connections the slower one brings what was accepted already; that proves it as well.
        """
        topic, data = frame.topic, frame.data
        if topic not in self.topics:
            return False
        accepted = self._c.take(topic, data)
        if topic in self.relaying.topics:
            accepted = self._take_listened(link, frame) or accepted
        if accepted:
            self.accepted_s[topic] = now_s
            if topic != MINI_TICKERS:
                self._patience.record_frames()
        if self._next is None:
            return accepted
        if accepted:
            self._recent[topic] = data
        return accepted or self._recent.get(topic) == data

    def _take_listened(self, link: Link, frame: TopicFrame) -> bool:
        if link is self._next:
            return self.relaying.take_second(frame)
        return link is self._current and self.relaying.take_first(frame, overlap=self._next is not None)

    def missed(self, link: Link, topic: str | None) -> None:
        """Note that a message could not be read: a frame of a topic, perhaps of any (empty), or of none."""
        known = topic if topic is None or topic in self.topics else ""
        detail = "no frame that can be read"
        self._c.events.emit(BodyRejected(self._c.market, known or link.path, BodyFault.NOT_JSON, detail))
        if known in {None, "", MINI_TICKERS}:
            self._interrupt()
        if known is not None:
            self.relaying.missed(known, second=link is self._next)

    def refused(self, topic: str, complaint: Complaint) -> None:
        """Tell those who listen to a topic that it is refused."""
        if topic in self.relaying.topics:
            self._c.refused(topic, complaint.code, complaint.detail)

    def changed(self) -> None:
        """Look at the connections now."""
        self._woken.set()

    # --------------------------------------------------------------------------------------- work

    async def run(self) -> None:
        """Keep the topics subscribed until there are none."""
        try:
            while self.topics:
                self._step(self._c.clock.now())
                self._woken.clear()
                try:
                    async with asyncio.timeout(_STEP_S):
                        await self._woken.wait()
                except TimeoutError:
                    pass
        except Exception:
            self.relaying.failed(self._c.clock.now())
            raise
        finally:
            await self._close_all()

    def _step(self, now_s: float) -> None:
        self._remove_ended()
        self._take_opened()
        self._judge(now_s)
        reason = self._wanted(now_s)
        if self._opening is not None and reason is not None and _outranks(reason, self._reason):
            self._cancel_opening()  # the reason is another one, such as that the old connection has ended meanwhile
        elif reason is None and self._reason in {ConnectReason.SILENT, ConnectReason.PLANNED}:
            self._cancel_opening()  # frames come again; or it would begin too near to the end of the minute
        if reason is not None and self._opening is None and self._next is None:
            self._open(reason, now_s)
        self._report(now_s)
        self.relaying.look(self._current, now_s)
        for link in self._links():
            link.wake()

    def _links(self) -> list[Link]:
        return [link for link in (self._current, self._next) if link is not None]

    def _wanted(self, now_s: float) -> ConnectReason | None:
        """Return why another connection is wanted."""
        current = self._current
        if current is None:
            return self._reason if self._reason is ConnectReason.FIRST else ConnectReason.LOST
        if current.shutdown_s is not None:
            return ConnectReason.SHUTDOWN if now_s >= current.shutdown_s else None
        if current is self._doubted or self._patience.is_over(self._silence(current, now_s), now_s):
            return ConnectReason.SILENT
        if now_s >= current.replace_s and may_replace(self._c.clock.wall_ms()):
            return ConnectReason.PLANNED
        return None

    def _silence(self, link: Link, now_s: float) -> Silence:
        since_s = max(link.opened_s, link.subscriptions.added_s)
        tickers = MINI_TICKERS in self.topics
        return Silence(
            message_s=link.message_s,
            frame_s=max(since_s, link.last_frame_s or since_s),
            candle_s=max(since_s, link.candle_s or since_s),
            topics=len(self.topics) - tickers,
            tickers=tickers,
            path_known=self._c.paths.known(now_s),
        )

    def _open(self, reason: ConnectReason, now_s: float) -> None:
        current, paths = self._current, self._c.paths
        if reason is ConnectReason.SILENT and current is not None and current.candle_s is None:
            paths.record_silence(current.path, now_s)
        self._reason, self._path = reason, paths.current
        opening = self._c.dialer.open(self._c.market, self._c.base_url, self._path, reason)
        self._opening = asyncio.create_task(opening, name=f"handshake of {self._c.market.value}")
        self._opening.add_done_callback(lambda _: self.changed())

    def _cancel_opening(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None

    def _take_opened(self) -> None:
        """Use the new connection, or remember why there is none."""
        opening = self._opening
        if opening is None or not opening.done():
            return
        self._opening = None
        try:
            connection = opening.result()
        except ConnectFailed as failed:
            self.last_error = str(failed)
            if failed.status == HTTPStatus.NOT_FOUND:
                self._c.paths.record_silence(self._path, self._c.clock.now())
        except Exception as error:  # noqa: BLE001 - the next attempt follows
            self.last_error = f"{type(error).__name__}: {error}"
            self._c.events.emit(BackgroundTaskFailed(BackgroundTask.STREAMS, self.last_error))
        else:
            self._add_link(connection)

    def _add_link(self, connection: StreamConnection) -> None:
        link = Link(
            connection,
            self.topics,
            market=self._c.market,
            path=self._path,
            life=draw_life(self._c.rng),
            clock=self._c.clock,
            events=self._c.events,
            owner=self,
        )
        self._reason = ConnectReason.LOST if self._reason is ConnectReason.FIRST else self._reason
        self._recent.clear()
        if self._current is None:
            self._current = link
        else:
            self._next = link
            self.relaying.forget_second()

    def _remove_ended(self) -> None:
        for link in self._links():
            if link.end is None:
                continue
            end, detail = link.end
            self.last_error = detail
            self._retire(link, end, detail)
            if link is self._current:
                self._current, self._next = self._next, None
                self._interrupt()
                self.relaying.ended(link, alone=self._current is None)
            else:
                self._next = None
                self.relaying.forget_second()
            if link.shutdown_s is None:  # an announced end is no trouble
                self._c.dialer.lost(self._c.market)

    def _judge(self, now_s: float) -> None:
        old, new = self._current, self._next
        if old is None or new is None:
            return
        decision = judge(
            old.subscriptions,
            new.subscriptions,
            self.topics,
            opened_s=new.opened_s,
            now_s=now_s,
            lossless=bool(self.relaying.topics.lossless()),
        )
        if decision is Decision.WAIT:
            return
        if self._reason is ConnectReason.SILENT and new.candle_s is None:
            self._patience.record_replacement()
        if decision is Decision.TAKE_OVER:
            self._retire(old, StreamEnd.REPLACED, self._reason.value)
            self._current, self._next = new, None
            self._interrupt()
            self.relaying.replaced()
        else:
            self._doubted = self._next = None
            self.relaying.forget_second()
            self._retire(new, StreamEnd.USELESS, "it lacks most of what the old connection shows")
            self._c.dialer.lost(self._c.market)
            old.replace_s = max(old.replace_s, now_s + _LATER_S)

    def _report(self, now_s: float) -> None:
        """Tell the pace and the choice of paths what frames have proven."""
        link = self._current
        if link is None or link.last_frame_s is None or now_s - link.last_frame_s > _PROVEN_S:
            return
        if link.proven_for_s() >= _CALM_S:
            self._c.dialer.pace.calm(self._c.market, now_s)
        elif link.proven_for_s() >= _PROVEN_S:
            self._c.dialer.proven(self._c.market)
        if link.candle_s is not None and now_s - link.candle_s <= _PROVEN_S:
            self._c.paths.record_frames(link.path, now_s)

    def _interrupt(self) -> None:
        if MINI_TICKERS in self.topics:
            self._c.interrupt()

    # ---------------------------------------------------------------------------------------- end

    def _retire(self, link: Link, end: StreamEnd, detail: str) -> None:
        age_s = self._c.clock.now() - link.opened_s
        self._c.events.emit(StreamEnded(self._c.market.value, end, detail, age_s))
        task = asyncio.create_task(link.close(), name="closing of a stream")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close_all(self) -> None:
        """Close everything, so that `run` may start again."""
        opening, self._opening = self._opening, None
        for link in self._links():
            self._retire(link, StreamEnd.UNUSED, "")
        self._current = self._next = None
        self._interrupt()
        await cancel_all(opening)
        if opening is not None and not opening.cancelled() and opening.exception() is None:
            await opening.result().close()
        await asyncio.gather(*self._closing, return_exceptions=True)


def _outranks(reason: ConnectReason, other: ConnectReason) -> bool:
    """Return whether a connection that is opened for another reason must not be waited for: a planned one may wait."""
    return reason is not other and (reason is not ConnectReason.SILENT or other is ConnectReason.PLANNED)
