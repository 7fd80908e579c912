"""Account for what memory holds, in bytes, and decide what goes first when there is too much. Nothing is stored here.

A segmented LRU: a key used once stays in probation, which may hold a quarter of the bound, so that one long scan never
pushes out what is used all the time; the second use protects it.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable

_PROBATION_SHARE = 4
_SAME_USE_S = 3.0  # a scan's pages straddle blocks: two uses this near to each other are one


class ByteLru:
    """Bytes held under keys.

    Args:
        max_bytes: all that may be held.
        evict_one: called with each key that must go; it drops the thing itself, and returns False where the thing is
            in use and stays for now.
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
        """Bytes held in all."""
        return self._probation_bytes + self._protected_bytes

    def set_size(self, key: Hashable, nbytes: int) -> None:
        """Set the size of `key`, new or known; its rank does not change."""
        if key in self._protected:
            self._protected_bytes += nbytes - self._protected[key]
            self._protected[key] = nbytes
        else:
            self._probation_bytes += nbytes - self._probation.get(key, 0)
            self._probation[key] = nbytes

    def touch(self, key: Hashable, now_s: float) -> None:
        """Note that `key` was used at `now_s`: it goes last of its segment, and is protected from the second use on."""
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
        """Evict what was used longest ago until the bound holds; return how many keys went."""
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
