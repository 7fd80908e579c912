"""A segmented LRU that counts bytes: it decides what is evicted when memory holds too much. It stores nothing itself.

A key used once is in the probation segment, which may hold a quarter of the bound; the second use moves it to the
protected segment. So one long scan never evicts what is used all the time.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable

_PROBATION_SHARE = 4
_SAME_USE_S = 3.0  # pages of a scan straddle blocks: two uses this close together count as one


class ByteLru:
    """The bytes held under each key, and the order in which keys are evicted.

    Args:
        max_bytes: the bound on their sum.
        evict_one: called with each key to evict; it drops the thing itself, or returns False if the thing is in use and
            must stay for now.
    """

    def __init__(self, max_bytes: int, evict_one: Callable[[Hashable], bool]) -> None:
        self.max_bytes = max_bytes
        self._evict_one = evict_one
        self._probation: OrderedDict[Hashable, int] = OrderedDict()
        self._protected: OrderedDict[Hashable, int] = OrderedDict()
        self._first_used_s: dict[Hashable, float] = {}
        self._probation_bytes = 0
        self._protected_bytes = 0

    @property
    def held_bytes(self) -> int:
        """The sum of all bytes."""
        return self._probation_bytes + self._protected_bytes

    def set_size(self, key: Hashable, nbytes: int) -> None:
        """Set the size of a new or known `key`; a known one keeps its position."""
        if key in self._protected:
            self._protected_bytes += nbytes - self._protected[key]
            self._protected[key] = nbytes
        else:
            self._probation_bytes += nbytes - self._probation.get(key, 0)
            self._probation[key] = nbytes

    def touch(self, key: Hashable, now_s: float) -> None:
        """Note that `key` was used at `now_s`: its segment evicts it last, and the second use protects it."""
        if key in self._protected:
            self._protected.move_to_end(key)
        elif key in self._probation:
            if now_s - self._first_used_s.setdefault(key, now_s) < _SAME_USE_S:
                self._probation.move_to_end(key)
                return
            nbytes = self._probation[key]
            self.remove(key)
            self._protected[key] = nbytes
            self._protected_bytes += nbytes

    def remove(self, key: Hashable) -> None:
        """Forget `key`."""
        self._probation_bytes -= self._probation.pop(key, 0)
        self._protected_bytes -= self._protected.pop(key, 0)
        self._first_used_s.pop(key, None)

    def evict(self) -> int:
        """Evict what was used longest ago until the bound holds; return how many keys were evicted."""
        gone = 0
        gone += self._shrink(self._probation, lambda: self._probation_bytes > self.max_bytes // _PROBATION_SHARE)
        for segment in (self._probation, self._protected):
            gone += self._shrink(segment, lambda: self.held_bytes > self.max_bytes)
        return gone

    def _shrink(self, segment: "OrderedDict[Hashable, int]", too_much: Callable[[], bool]) -> int:
        gone = 0
        for _ in range(len(segment)):
            if not segment or not too_much():
                break
            key = next(iter(segment))
            if self._evict_one(key):
                gone += 1
                self.remove(key)
            else:
                segment.move_to_end(key)
        return gone
