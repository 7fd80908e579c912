"""The topics of a connection that are relayed: each frame once and in order, also from two connections. Pure.

The first of two connections leads: its frames are relayed as they come. Frames of the second one wait until the first
one has brought them as well, or has given way (docs/design.md#relay).
"""

from collections.abc import Collection
from dataclasses import dataclass, field

from mdcache.exchange.topics import TopicKind, frame_position, topic_kind

_MOST_WAITING = 10_000  # frames of a topic that only one of two connections has brought


@dataclass(slots=True)
class _Topic:
    """One topic.

    `position`: the greatest of what was relayed, `frames`: what was relayed with it. `waiting`: brought by the second
    connection alone, with positions. Of a topic without positions, `ahead`: relayed, and not yet brought by the second
    connection, and `behind`: what was ahead of the leading one when it took over. `catching_up`: the leading one has
    taken over, and not yet brought anything new. `joined`: the second connection has brought what the first one did.
    `cut`: one of them is too far ahead, or lacks a frame. `held`: its frames are held back, since one is
    missing. `lost`: its listeners were told.
    """

    kind: TopicKind
    position: int | None = None
    frames: list[bytes] = field(default_factory=list)
    waiting: dict[bytes, int | None] = field(default_factory=dict)
    ahead: dict[bytes, None] = field(default_factory=dict)
    behind: dict[bytes, None] = field(default_factory=dict)
    catching_up: bool = False
    second_position: int | None = None
    joined: bool = False
    cut: bool = False
    held: bool = False
    lost: bool = False

    def is_new(self, position: int | None, data: bytes) -> bool:
        """Return whether another connection's frame comes after all that was relayed."""
        if position is None:
            return data not in self.ahead and data not in self.behind
        if self.position is None:
            return True
        return position > self.position or (position == self.position and data not in self.frames)

    def is_next(self, position: int | None, data: bytes) -> bool:
        """Return whether the leading connection's frame is to be relayed: all but what was relayed before."""
        if position is None or self.catching_up:
            return self.is_new(position, data)
        return self.kind is TopicKind.CONFLATABLE or position != self.position or data not in self.frames

    def record(self, position: int | None, data: bytes) -> None:
        self.catching_up = False
        if position is None:
            return
        if self.position is None or position > self.position:
            self.position, self.frames = position, [data]
        elif position == self.position and data not in self.frames:
            self.frames.append(data)

    def alone(self) -> None:
        self.waiting.clear()
        self.ahead = {}
        self.second_position, self.joined, self.cut = None, False, False


class ListenedTopics:
    """The topics that somebody listens to, with what was relayed."""

    def __init__(self) -> None:
        self._topics: dict[str, _Topic] = {}
        self._all_held = False

    def __contains__(self, topic: str) -> bool:
        return topic in self._topics

    def add(self, topic: str) -> None:
        """Begin to relay a topic."""
        self._all_held &= topic in self._topics
        self._topics.setdefault(topic, _Topic(topic_kind(topic)))

    def remove(self, topic: str) -> None:
        """Stop it."""
        self._topics.pop(topic, None)

    # --------------------------------------------------------------------------------------- frames

    def take_first(self, topic: str, data: bytes, *, overlap: bool) -> bool:
        """Take a frame of the connection that leads; return whether it is to be relayed.

        `overlap`: there is a second connection.
        """
        found = self._topics[topic]
        position = frame_position(topic, data)
        fresh = found.is_next(position, data)
        if found.behind:
            found.behind.pop(data, None)
        if fresh:
            found.record(position, data)
        if overlap:
            self._pair(found, position, data)
        return fresh

    def take_second(self, topic: str, data: bytes) -> bool:
        """Take a frame of the second connection; return whether it proves that the topic is alive there."""
        found = self._topics[topic]
        position = frame_position(topic, data)
        if found.is_new(position, data):
            if found.kind is TopicKind.CONFLATABLE:
                found.waiting.clear()
            found.waiting[data] = position
            _bound(found)
        else:
            found.ahead.pop(data, None)
            found.joined = True
        alive = position is None or found.second_position is None or position >= found.second_position
        found.second_position = position
        return alive

    def hand_over(self) -> list[tuple[str, bytes]]:
        """Let the second connection lead; return its frames that waited, which are to be relayed."""
        due: list[tuple[str, bytes]] = []
        for topic, found in self._topics.items():
            for data, position in found.waiting.items():
                if found.is_new(position, data):
                    found.record(position, data)
                    due.append((topic, data))
            found.behind, found.catching_up = found.ahead, True
            found.alone()
        return due

    def forget_second(self) -> None:
        """Forget the second connection: it has ended, or another one begins."""
        for found in self._topics.values():
            found.alone()

    # --------------------------------------------------------------------------------------- losses

    def lose(self, topics: Collection[str]) -> list[str]:
        """Mark topics as lost; return those that were not."""
        fresh = [topic for topic in topics if topic in self._topics and not self._topics[topic].lost]
        for topic in fresh:
            self._topics[topic].lost = True
        return fresh

    def miss_first(self, topic: str) -> list[str]:
        """Note that the connection that leads lacks a frame of a topic, or without a name of any.

        Hold back what comes of those of which each frame counts. Return them, but for those that are held already.
        """
        if self._all_held:
            return []
        missed = [name for name in self._meant(topic) if not self._topics[name].held]
        for name in missed:
            found = self._topics[name]
            found.held = True
            found.cut |= found.position is None  # where the second one's frame belongs can't be told
        self._all_held = not topic
        return missed

    def miss_second(self, topic: str) -> None:
        """Note that the second connection lacks a frame of a topic, or without a name of any."""
        for name in self._meant(topic):
            self._topics[name].cut = True

    def is_held(self, topic: str) -> bool:
        """Return whether the frames of a topic are held back."""
        return self._topics[topic].held

    def release(self) -> None:
        """Hold back nothing any more."""
        self._all_held = False
        for topic in self._topics.values():
            topic.held = False

    def _meant(self, topic: str) -> list[str]:
        """Return those of a topic, or all, of which each frame counts."""
        if not topic:
            return self.lossless()
        return [topic] if topic in self._topics and topic_kind(topic) is TopicKind.LOSSLESS else []

    def found(self) -> None:
        """Note that frames of all topics come again."""
        for topic in self._topics.values():
            topic.lost = False

    def all(self) -> list[str]:
        """Return all topics."""
        return list(self._topics)

    def gapped(self, *, planned: bool) -> list[str]:
        """Return the topics of which frames are missing if the second connection leads from now on.

        `planned`: both connections have brought all that there was for some seconds.
        """
        return [
            name
            for name, topic in self._topics.items()
            if topic.cut or (not planned and topic.kind is TopicKind.LOSSLESS and not topic.joined)
        ]

    def lossless(self) -> list[str]:
        """Return the topics of which each frame counts."""
        return [name for name, topic in self._topics.items() if topic.kind is TopicKind.LOSSLESS]

    def _pair(self, found: _Topic, position: int | None, data: bytes) -> None:
        """Note that the first connection has brought a frame, for which the second one need not wait."""
        waiting = found.waiting
        if position is not None:
            while waiting and not found.is_new(waiting[first := next(iter(waiting))], first):
                del waiting[first]
                found.joined = True
        elif data in waiting:
            del waiting[data]
            found.joined = True
        else:
            found.ahead[data] = None
            _bound(found)


def _bound(found: _Topic) -> None:
    frames: dict[bytes, int | None] | dict[bytes, None]
    for frames in (found.waiting, found.ahead):
        if len(frames) > _MOST_WAITING:
            del frames[next(iter(frames))]
            found.cut = True
