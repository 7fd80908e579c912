"""Find the topic for which a whole SUBSCRIBE is refused: what was refused is halved until it is alone. Pure.

A topic that is refused alone is asked for again by itself, later and later: what refused it may pass.
"""

import math
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

_AGAIN_S, _LONGEST_S = 15.0, 600.0

Names = tuple[str, ...]


@dataclass(slots=True)
class _Refused:
    """A topic that was refused alone. `again_s`: when it is asked for again; `inf` while it is."""

    again_s: float
    pause_s: float


class Refusals:
    """The SUBSCRIBEs of one connection that are not answered yet, and the topics that are in doubt."""

    def __init__(self) -> None:
        self._unanswered: dict[int, Names] = {}  # by the message's number
        self._parts: deque[Names] = deque()  # of refused messages, to be sent one by one
        self._held: set[str] = set()  # the topics of the parts
        self._refused: dict[str, _Refused] = {}

    def holds(self, topic: str) -> bool:
        """Return whether a topic must not be asked for together with others."""
        return topic in self._held or topic in self._refused

    def next_part(self, wanted: Collection[str], now_s: float) -> list[str]:
        """Return the topics to ask for next, by themselves."""
        while self._parts:
            part = self._parts.popleft()
            self._held.difference_update(part)
            if names := [name for name in part if name in wanted]:
                return names
        for name, found in list(self._refused.items()):
            if name not in wanted:
                del self._refused[name]
            elif now_s >= found.again_s:
                found.again_s = math.inf
                return [name]
        return []

    def sent(self, number: int, names: Collection[str]) -> None:
        """Record that a message was sent."""
        self._unanswered[number] = tuple(names)

    def accepted(self, number: int) -> None:
        """Record that it was acknowledged."""
        for name in self._unanswered.pop(number, ()):
            self._refused.pop(name, None)

    def refused(self, number: int | None, now_s: float) -> Names:
        """Record that a message was refused, the oldest one if it is not named; return its topics."""
        if number is None:
            number = next(iter(self._unanswered), -1)
        names = self._unanswered.pop(number, ())
        if len(names) > 1:
            half = len(names) // 2
            self._parts += (names[:half], names[half:])
            self._held.update(names)
        elif names:
            before = self._refused.get(names[0])
            pause_s = _AGAIN_S if before is None else min(2 * before.pause_s, _LONGEST_S)
            self._refused[names[0]] = _Refused(now_s + pause_s, pause_s)
        return names
