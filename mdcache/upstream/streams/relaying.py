"""What the connections of a shard mean for those who listen: their frames, and their losses (docs/design.md#relay)."""

from collections.abc import Callable, Collection

from mdcache.upstream.streams.link import Link
from mdcache.upstream.streams.listened import ListenedTopics
from mdcache.upstream.streams.messages import TopicFrame
from mdcache.upstream.streams.silence import DEAD_S

_LOST_S = 10.0  # without a connection


class Relaying:
    """Relays the topics of a shard. `topics`: those that are listened to; `down`: why their frames don't come.

    Args:
        relay: Takes the frames, as (topic, data).
        lost: Is told which topics lack frames, and why.
        refusal: Why no connection may be opened, if so.
        troubled: Whether more than its turn keeps a connection from being opened.
        now_s: The time.
    """

    def __init__(
        self,
        relay: Callable[[str, bytes], None],
        lost: Callable[[Collection[str], str], None],
        refusal: Callable[[], str | None],
        troubled: Callable[[], bool],
        now_s: float,
    ) -> None:
        self.topics = ListenedTopics()
        self.down: str | None = None
        self._relay = relay
        self._lost = lost
        self._refusal = refusal
        self._troubled = troubled
        self._was_alive = False
        self._alive_s = now_s  # when the last connection was alive; before the first, since when there is trouble

    def take_first(self, frame: TopicFrame, *, overlap: bool) -> bool:
        """Relay a frame of the connection that leads; return whether it was new."""
        fresh = self.topics.take_first(frame.topic, frame.data, overlap=overlap)
        if fresh and not self.topics.is_held(frame.topic):
            self._relay(frame.topic, frame.data)
        return fresh

    def take_second(self, frame: TopicFrame) -> bool:
        """Let a frame of the second connection wait; return whether it proves its topic there."""
        return self.topics.take_second(frame.topic, frame.data)

    def missed(self, topic: str, *, second: bool) -> None:
        """Note that a frame of a topic could not be read; without a name, of any of them.

        Whoever was sent frames that count is told. Until the next look nobody is sent any, so that many broken frames
        end a listener but once a second.
        """
        if second:
            self.topics.miss_second(topic)
        elif missed := self.topics.miss_first(topic):
            self._lost(missed, "a frame from Binance could not be read")

    def replaced(self) -> None:
        """Let the second connection lead, which has shown all that the first one has for some seconds."""
        self._lead(self.topics.gapped(planned=True))

    def ended(self, link: Link, *, alone: bool) -> None:
        """Note that the connection that led has ended; the second one leads, unless it was `alone`."""
        self._was_alive, self._alive_s = True, link.message_s
        self._lead(self.topics.lossless() if alone else self.topics.gapped(planned=False))

    def failed(self, now_s: float) -> None:
        """Note that all connections are closed because of a fault of ours, and that nobody looks for a while."""
        self._was_alive, self._alive_s = True, now_s
        self.topics.forget_second()
        self._lose(self.topics.all(), "internal error")

    def forget_second(self) -> None:
        """Forget the second connection: it has ended, or another one begins."""
        self.topics.forget_second()

    def look(self, link: Link | None, now_s: float) -> None:
        """Tell which topics have no frames any more: each once, until frames may come again."""
        self.topics.release()
        self.down = self._why_down(link, now_s)
        if self.down is None:
            self.topics.found()
        else:
            self._lose(self.topics.all(), self.down)

    def _why_down(self, link: Link | None, now_s: float) -> str | None:
        if link is not None:
            return None if now_s - link.message_s < DEAD_S else f"Binance has sent nothing for {DEAD_S:g} s"
        refusal = self._refusal()
        if refusal is not None:
            return f"no connection to Binance: {refusal}"
        if not self._was_alive and not self._troubled():
            self._alive_s = now_s
        return None if now_s - self._alive_s < _LOST_S else f"no connection to Binance for {_LOST_S:g} s"

    def _lead(self, gapped: Collection[str]) -> None:
        due = self.topics.hand_over()
        self._lose(gapped, "a connection to Binance was lost")
        for topic, data in due:
            if topic in self.topics:
                self._relay(topic, data)

    def _lose(self, topics: Collection[str], reason: str) -> None:
        lost = self.topics.lose(topics)
        if lost:
            self._lost(lost, reason)
