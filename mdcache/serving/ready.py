"""Ready answers: what was answered twice is remembered whole, by (path, raw query, time unit), while it stands.

Their bytes count in the memory they share with the series. How often a key must be asked for is a matter of
the keys alone: a question with a new `startTime` each time would only push out what is asked again.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import cast

from mdcache.candles.freshness import Wishes
from mdcache.clock import Clock, Instant
from mdcache.serving.asked import Key
from mdcache.serving.ports import Clocks, SharedMemory
from mdcache.serving.shown import Shown

KIND = "ready"  # first part of these entries' keys in the shared memory
_KEYS_SEEN = 16_384  # asked once; the oldest is forgotten, and counts as new when it comes again
_MOST = 32_768  # ready answers, whatever memory allows: it bounds what small bodies cost in objects
_LONGEST = 1_024  # bytes of a query; a longer one is mostly filler, and the keys asked once are in no account
_SWEPT = 4  # looked at with each new one, so that none lingers for longer than a round of new ones
_ASK_EVERY_S = 1.0  # memory ranks by seconds; an account entry for each hit would cost more than the hit


class Readies:
    """The ready answers of the daemon; they are adopted by the memory they are given."""

    def __init__(
        self, shared: SharedMemory, clocks: Clocks, clock: Clock, *, keys_seen: int = _KEYS_SEEN, most: int = _MOST
    ) -> None:
        self._shared = shared
        self._account = shared.memory
        self._clocks = clocks
        self._clock = clock
        self._keys_seen = keys_seen
        self._most = most
        self._shown: OrderedDict[Key, Shown] = OrderedDict()
        self._seen: OrderedDict[Key, None] = OrderedDict()
        shared.adopt(KIND, self)

    def __len__(self) -> int:
        return len(self._shown)

    def find(self, key: Key, wishes: Wishes | None, now_s: float) -> tuple[Shown, Instant] | None:
        """The ready answer under `key`, with the moment it was found to stand for and to satisfy `wishes`."""
        shown = self._shown.get(key)
        if shown is None:
            return None
        now = self._clocks.now(shown.market)
        if not shown.answer.stands(now):
            self._drop(key)
            return None
        if wishes is not None and not satisfies(shown, wishes, now):
            return None
        if now_s - shown.asked_at_s > _ASK_EVERY_S:
            shown.asked_at_s = now_s
            self._account.hold((KIND, key), shown.nbytes)  # it may have been compressed meanwhile
            self._account.ask((KIND, key), now_s)
        return shown, now

    def offer(self, key: Key, shown: Shown, now: Instant) -> bool:
        """Remember `shown` if its key was asked for before and it stands; returns whether it is remembered."""
        if len(key[1]) + len(key[2]) > _LONGEST:
            return False
        if key not in self._seen and key not in self._shown:
            self._seen[key] = None
            if len(self._seen) > self._keys_seen:
                self._seen.popitem(last=False)
            return False
        if key in self._seen:
            self._seen.move_to_end(key)
        if not shown.answer.stands(now):
            return False
        self._shown[key] = shown
        self._shown.move_to_end(key)
        self._account.hold((KIND, key), shown.nbytes)
        self._account.ask((KIND, key), self._clock.now())
        self._sweep()
        self._shared.fit()
        return True

    def give_up(self, key: Hashable) -> None:
        """Memory wants these bytes back; it forgets the key by itself."""
        _, mine = cast("tuple[str, Key]", key)
        self._shown.pop(mine, None)

    def clear(self) -> int:
        """Forget all of them (a purge); returns how many there were."""
        count = len(self._shown)
        for key in list(self._shown):
            self._drop(key)
        return count

    def _drop(self, key: Key) -> None:
        del self._shown[key]
        self._account.forget((KIND, key))

    def _sweep(self) -> None:
        while len(self._shown) > self._most:
            self._drop(next(iter(self._shown)))
        for _ in range(min(_SWEPT, len(self._shown))):
            key, shown = next(iter(self._shown.items()))
            if shown.answer.stands(self._clocks.now(shown.market)):
                self._shown.move_to_end(key)
            else:
                self._drop(key)


def satisfies(shown: Shown, wishes: Wishes, now: Instant) -> bool:
    """Whether what stands is also as fresh as the caller wants; what may be older is his wish, not ours."""
    if wishes.no_cache or wishes.ahead_ms(now):
        return False
    if shown.answer.settled:
        return True  # its as-of is now
    as_of_ms = shown.answer.as_of_ms
    if wishes.max_age_s is not None and now.ms - as_of_ms > wishes.max_age_s * 1000:
        return False
    return wishes.min_as_of_ms is None or as_of_ms >= min(wishes.min_as_of_ms, now.ms)
