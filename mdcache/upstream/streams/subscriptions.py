"""What one connection is subscribed to: the next message to send, and what its frames have proven. Pure.

The list of wanted topics is the only source: nothing is queued, so a message always says what is wanted when it is
sent.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass

from mdcache.exchange.streams import MINI_TICKERS
from mdcache.exchange.topics import TopicKind, topic_kind
from mdcache.upstream.streams.limits import TOPICS_A_CONNECTION
from mdcache.upstream.streams.messages import batch, list_message, topics_message
from mdcache.upstream.streams.refusals import Refusals
from mdcache.upstream.streams.silence import DEAD_S

_LIST_AFTER_S = 2.0  # an acknowledgement takes less, and so does the list
_LIST_EVERY_S = 8.0
_SILENT_S = 30.0  # quiet topics were seen silent for 35 s: docs/binance.md#kline-streams
_LONGEST_SILENT_S = 960.0


@dataclass(slots=True)
class _Topic:
    """A topic that was asked for.

    `seen_s`: its last frame; `quiet_s`: silence after which it is asked for again, and `pause_s` the one that counts
    now; `renewed_s`: when that was done because it is dead, if no frame came since.
    """

    asked_s: float
    quiet_s: float
    pause_s: float
    seen_s: float | None = None
    renewed_s: float | None = None


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A message to send. `subscribed`: topics in it; `silent`: topics that it ends to subscribe to them again."""

    text: str
    subscribed: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()


class Subscriptions:
    """The topics of one connection; `wanted` is the caller's, who changes it."""

    def __init__(self, wanted: Collection[str]) -> None:
        self._wanted = wanted
        self._topics: dict[str, _Topic] = {}
        self._asked: set[str] = set()  # of those, the ones whose SUBSCRIBE was sent last, not their UNSUBSCRIBE
        self._refusals = Refusals()
        self._number = 0
        self._listed = True  # whether the other side has confirmed all
        self._asked_s = self._list_s = float("-inf")
        self._list_pause_s = _LIST_AFTER_S
        self._listing: tuple[int, frozenset[str]] = (0, frozenset())
        self.ready_s: float | None = None  # when all had been sent for the first time
        self.added_s = float("-inf")  # when a topic was subscribed to for the first time

    def next_message(self, now_s: float, message_s: float) -> OutgoingMessage | None:
        """Return the message to send now, which counts as sent, or nothing.

        `message_s`: when the last message came; after some silence a question shows whether the connection lives.
        """
        missing = batch(one for one in self._wanted if one not in self._asked and not self._refusals.holds(one))
        unwanted = batch(topic for topic in self._asked if topic not in self._wanted)
        if unwanted and (not missing or len(self._asked) + len(missing) > TOPICS_A_CONNECTION):
            for topic in unwanted:
                del self._topics[topic]
            return OutgoingMessage(self._unsubscribe(unwanted))
        if missing:
            return self._subscribe(missing, now_s)
        if part := self._refusals.next_part(self._wanted, now_s):
            return self._subscribe(part, now_s)
        if self.ready_s is None:
            self.ready_s = now_s
        for name in self._topics.keys() - self._asked:  # ended to be asked for again, and not wanted by then
            del self._topics[name]
        if self._in_doubt(now_s) or now_s - max(message_s, self._list_s) >= DEAD_S / 2:
            self._number += 1
            self._list_s, self._list_pause_s = now_s, min(2 * self._list_pause_s, _LIST_EVERY_S)
            self._listing = self._number, frozenset(self._asked)
            return OutgoingMessage(list_message(self._number))
        silent = batch(name for name, topic in self._topics.items() if _is_silent(topic, now_s))
        if silent:
            for name in silent:
                self._topics[name].pause_s = min(max(_SILENT_S, 2 * self._topics[name].pause_s), _LONGEST_SILENT_S)
            return OutgoingMessage(self._unsubscribe(silent), silent=tuple(silent))
        return None

    def record_frame(self, topic: str, now_s: float) -> None:
        """Record a frame that proves a topic."""
        found = self._topics.get(topic)
        if found is not None:  # else it is no longer wanted
            found.seen_s, found.pause_s, found.renewed_s = now_s, found.quiet_s, None

    def renew(self, topic: str, now_s: float) -> bool:
        """Ask for a dead topic again with the next message; return False if that was done, and did not help."""
        found = self._topics.get(topic)
        if found is None or topic not in self._asked:
            return True  # it is about to be asked for
        if found.renewed_s is None:
            found.renewed_s, found.pause_s = now_s, 0.0
        return now_s - found.renewed_s < _SILENT_S

    def record_acknowledgement(self, number: int) -> None:
        """Record that a message was accepted, which proves nothing about its topics."""
        self._refusals.accepted(number)

    def record_refusal(self, number: int | None, now_s: float) -> str | None:
        """Record that a message was refused, so that its topics are asked for in parts; return one that was alone."""
        names = self._refusals.refused(number, now_s)
        self._asked.difference_update(names)
        return names[0] if len(names) == 1 else None

    def record_list(self, number: int, topics: Collection[str]) -> None:
        """Record what the other side knows, so that topics it lacks are asked for again.

        A topic that has had a frame is not in doubt, however it may be spelt in the list.
        """
        asked, self._listing = self._listing, (0, frozenset())
        if number != asked[0]:
            return
        known = set(topics)
        lacking = {name for name in asked[1] & self._asked if name not in known and not self._proven(name)}
        self._asked -= lacking
        if not lacking and asked[1] == self._asked:
            self._listed, self._list_pause_s = True, _LIST_AFTER_S

    @property
    def confirmed(self) -> bool:
        """Whether the other side has all topics: they had frames, or are in its list."""
        return self._listed

    def seen_s(self, topic: str) -> float | None:
        """Return when a topic had its last frame; `None`: not yet."""
        found = self._topics.get(topic)
        return None if found is None else found.seen_s

    def _in_doubt(self, now_s: float) -> bool:
        """Return whether to ask now which topics the other side knows: some of them never had a frame."""
        if self._listed or now_s < max(self._asked_s, self._list_s) + self._list_pause_s:
            return False
        self._listed = all(self._proven(name) for name in self._asked)
        return not self._listed

    def _proven(self, name: str) -> bool:
        seen_s = self._topics[name].seen_s
        return seen_s is not None and seen_s >= self._topics[name].asked_s

    def _subscribe(self, names: list[str], now_s: float) -> OutgoingMessage:
        for name in names:
            if name not in self._topics:
                quiet_s = _quiet_s(name)
                self._topics[name], self.added_s = _Topic(now_s, quiet_s, quiet_s), now_s
            self._topics[name].asked_s = now_s
        self._asked.update(names)
        self._number += 1
        self._refusals.sent(self._number, names)
        self._asked_s, self._listed = now_s, False
        return OutgoingMessage(topics_message("SUBSCRIBE", names, self._number), subscribed=tuple(names))

    def _unsubscribe(self, names: list[str]) -> str:
        self._asked.difference_update(names)
        self._number += 1
        return topics_message("UNSUBSCRIBE", names, self._number)


def _quiet_s(topic: str) -> float:
    """Return after how long a silence to subscribe again, at the cost of frames that come in between."""
    return math.inf if topic_kind(topic) is TopicKind.LOSSLESS and topic != MINI_TICKERS else _SILENT_S


def _is_silent(topic: _Topic, now_s: float) -> bool:
    last_s = topic.asked_s if topic.seen_s is None else max(topic.seen_s, topic.asked_s)
    return now_s - last_s >= topic.pause_s
