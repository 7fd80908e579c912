"""One open connection: sends what its subscriptions say, reads what comes, and knows how it ended.

It decides nothing about other connections, and never connects.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Protocol

from mdcache.background_work import cancel_all
from mdcache.clock import Clock
from mdcache.events import BackgroundTask, BackgroundTaskFailed, Events
from mdcache.exchange.markets import Market
from mdcache.exchange.streams import MINI_TICKERS
from mdcache.exchange.topics import StreamRoute, topic_on
from mdcache.stream_events import StreamComplaint, StreamEnd, StreamsSilent, StreamSubscribed
from mdcache.upstream.streams.limits import LIMITS
from mdcache.upstream.streams.lives import Life
from mdcache.upstream.streams.messages import (
    Acknowledged,
    Complaint,
    Shutdown,
    TopicFrame,
    TopicList,
    Undecodable,
    read_message,
)
from mdcache.upstream.streams.ports import ConnectionEnded, StreamConnection
from mdcache.upstream.streams.subscriptions import Subscriptions


class LinkOwner(Protocol):
    """Whose connection it is."""

    @property
    def route(self) -> StreamRoute:
        """The route of the connection's topics."""

    def take(self, link: "Link", frame: TopicFrame, now_s: float) -> bool:
        """Take a frame; return whether it proves its topic on the connection."""

    def missed(self, link: "Link", topic: str | None) -> None:
        """Note that a message could not be read: a frame of a topic, perhaps of any (empty), or of none."""

    def refused(self, topic: str, complaint: Complaint) -> None:
        """Note that a topic was refused when it was asked for alone."""

    def changed(self) -> None:
        """Look at the connection: it has ended, or will end."""


# Of a burst, before others have their turn: a quarter of a millisecond, but if a thousand listen to each frame, 16.
_AT_ONCE, _AT_ONCE_S = 8, 0.005


class Link:
    """A connection and its two tasks: one sends, one receives and hands on each frame before it reads the next."""

    def __init__(
        self,
        connection: StreamConnection,
        wanted: Collection[str],
        *,
        market: Market,
        path: str,
        life: Life,
        clock: Clock,
        events: Events,
        owner: LinkOwner,
    ) -> None:
        self.market = market
        self.path = path
        self.subscriptions = Subscriptions(wanted)
        self.opened_s = self.message_s = clock.now()  # message_s: of the last message
        self.replace_s = self.opened_s + life.replaced_after_s
        self.frame_s: float | None = None  # of the first frame that proved something
        self.last_frame_s: float | None = None
        self.candle_s: float | None = None  # the same for the last one of a topic of its own
        self.shutdown_s: float | None = None  # when to replace it, since its end was announced
        self.end: tuple[StreamEnd, str] | None = None
        self._connection = connection
        self._leaves_after_s = life.leaves_after_s
        self._clock = clock
        self._events = events
        self._owner = owner
        self._woken = asyncio.Event()
        works = self._guarded(self._receive), self._guarded(self._send)
        self._tasks = [asyncio.create_task(work, name=f"stream of {market.value}") for work in works]

    def wake(self) -> None:
        """Send what is to be sent now."""
        self._woken.set()

    def proven_for_s(self) -> float:
        """Return for how long frames have come; 0 before the first."""
        return 0.0 if self.frame_s is None or self.last_frame_s is None else self.last_frame_s - self.frame_s

    async def close(self) -> None:
        """Close the connection."""
        await cancel_all(*self._tasks)
        await self._connection.close()

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """End the connection when its receiver ends, or when anything unforeseen happens."""
        try:
            await work()
        except ConnectionEnded as ended:
            self._end(StreamEnd.BROKEN if ended.code is None else StreamEnd.CLOSED, str(ended))
        except Exception as error:  # noqa: BLE001 - whatever it is, another connection follows
            detail = f"{type(error).__name__}: {error}"
            self._events.emit(BackgroundTaskFailed(BackgroundTask.STREAMS, detail))
            self._end(StreamEnd.BROKEN, detail)

    def _end(self, end: StreamEnd, detail: str) -> None:
        self.end = self.end or (end, detail)
        self._owner.changed()

    async def _send(self) -> None:
        while True:
            message = self.subscriptions.next_message(self._clock.now(), self.message_s)
            if message is None:
                self._woken.clear()
                await self._woken.wait()
                continue
            if message.subscribed:
                self._events.emit(StreamSubscribed(self.market.value, len(message.subscribed)))
            if message.silent:
                self._events.emit(StreamsSilent(self.market.value, len(message.silent), message.silent[0]))
            await self._connection.send(message.text)
            await self._clock.sleep(LIMITS[self.market].message_every_s)

    async def _receive(self) -> None:
        while True:
            began_s = self._clock.now()
            for _ in range(_AT_ONCE):
                self._handle(await self._connection.receive())
                if self._clock.now() - began_s >= _AT_ONCE_S:
                    break
            await self._clock.sleep(0.0)  # `receive` does not wait for a message that has arrived already

    def _handle(self, text: bytes | str) -> None:
        self.message_s = now_s = self._clock.now()
        match read_message(text):
            case TopicFrame(name, data):
                frame = TopicFrame(topic_on(self._owner.route, name), data)
                if self._owner.take(self, frame, now_s):
                    self._record_frame(frame.topic, now_s)
            case TopicList(number, names):
                self.subscriptions.record_list(number, [topic_on(self._owner.route, name) for name in names])
                self.wake()
            case Complaint() as complaint:
                self._events.emit(StreamComplaint(self.market.value, complaint.detail))
                if (refused := self.subscriptions.record_refusal(complaint.id, now_s)) is not None:
                    self._owner.refused(refused, complaint)
                self.wake()
            case Shutdown():
                self.shutdown_s = self.shutdown_s or now_s + self._leaves_after_s
                self._owner.changed()
            case Undecodable(name):
                self._owner.missed(self, topic_on(self._owner.route, name) if name else name)
            case Acknowledged(number):
                self.subscriptions.record_acknowledgement(number)

    def _record_frame(self, topic: str, now_s: float) -> None:
        self.subscriptions.record_frame(topic, now_s)
        self.frame_s = self.frame_s or now_s
        self.last_frame_s = now_s
        if topic != MINI_TICKERS:
            self.candle_s = now_s
