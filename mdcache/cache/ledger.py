"""The ledger: what this replica last saw in the commons of each series, so that only news need travel. Pure."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from mdcache.candles.atrest import Span
from mdcache.candles.commons import Found, Gift, Have, Lease
from mdcache.candles.series import Series
from mdcache.candles.share import Shared, offer
from mdcache.exchange.questions import SeriesKey

_FOREVER = 1 << 62
_MOST_SERIES = 50_000
_MOST_CARDS = 256  # of a series: a page touches three blocks; who scans the past meets each of them once


@dataclass(frozen=True, slots=True)
class Card:
    """A block as it was there: its mark, what was known in it, and which of its rows were known to be revised."""

    mark: bytes
    known: tuple[Span, ...]
    revised: Mapping[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class Ledger:
    """Of one series. `looked_s`: when it was last seen."""

    epoch: bytes = b""
    revisions: int = 0
    purge: bytes = b""
    tail: bytes = b""
    tail_as_of_ms: int = -1
    emptiness: bytes = b""
    cards: dict[int, Card] = field(default_factory=dict)
    looked_s: float = float("-inf")

    def have(self, series: Series, indexes: Iterable[int]) -> Have:
        """What we have of what we saw, as far as memory still holds it."""
        mine = series.tail
        tail = self.tail if mine is not None and mine.as_of_ms >= self.tail_as_of_ms else b""
        blocks = {}
        for index in indexes:
            card = self.cards.get(index)
            whole = card is not None and not _lacks(series, card.known)
            blocks[index] = (card.mark if card is not None and whole else b"", series.shelf.find(index))
        return Have(self.epoch, self.revisions, tail, self.emptiness, blocks)

    def gift(self, series: Series, indexes: Iterable[int], lease: Lease | None, *, trusted: bool) -> Gift:
        """What there is to give of these blocks and the rest; `trusted`: our tail's as-of may be told to others.

        A block of which others know more than we still do is not given: it would take that away.
        """
        shared = offer(series, indexes)
        tail = shared.tail
        newer = trusted and tail is not None and tail.as_of_ms > self.tail_as_of_ms
        start_ms = tail.start_ms if tail is not None else _FOREVER
        blocks, told, marks = {}, set(), {}
        for index, block in shared.blocks.items():
            card = self.cards.get(index, Card(b"", ()))
            beyond = any(end > start_ms for _, end in card.known)
            if _lacks(series, card.known) or (beyond and not newer):
                continue
            blocks[index] = block
            marks[index] = (card.mark, None)
            if any(card.revised.get(t) != ms for t, ms in block.revised.items()):
                told.add(index)
        have = Have(self.epoch, self.revisions, self.tail, self.emptiness, marks)
        given = Shared(tail if newer else None, shared.bare, shared.voids, blocks)
        return Gift(have, given, frozenset(told), lease)

    def saw(self, found: Found, indexes: Iterable[int]) -> None:
        """Note what was there, of these blocks and the rest."""
        self.epoch, self.tail, self.emptiness = found.epoch, found.tail, found.emptiness
        self.tail_as_of_ms = found.tail_as_of_ms
        for index in indexes:
            mark = found.marks.get(index)
            before = self.cards.pop(index, None)
            if mark is None:
                continue
            block = found.shared.blocks.get(index)
            revised = block.revised if block is not None else before.revised if before is not None else {}
            self.cards[index] = Card(mark[0], () if index in found.lost else mark[1], revised)
        while len(self.cards) > _MOST_CARDS:
            del self.cards[next(iter(self.cards))]

    def gave(self, gift: Gift, found: Found) -> None:
        """Note that what we gave is there now."""
        self.epoch, self.revisions = found.epoch, found.revisions
        self.tail, self.emptiness = found.tail, found.emptiness
        if gift.shared.tail is not None:
            self.tail_as_of_ms = gift.shared.tail.as_of_ms
        for index, (mark, known) in found.marks.items():
            self.cards[index] = Card(mark, known, gift.shared.blocks[index].revised)


class Ledgers:
    """Of all series; the one seen longest ago goes when there are too many, and costs an exchange of everything."""

    def __init__(self) -> None:
        self._by_key: OrderedDict[SeriesKey, Ledger] = OrderedDict()

    def of(self, key: SeriesKey) -> Ledger:
        """The series' ledger."""
        ledger = self._by_key.setdefault(key, Ledger())
        self._by_key.move_to_end(key)
        if len(self._by_key) > _MOST_SERIES:
            self._by_key.popitem(last=False)
        return ledger

    def __iter__(self) -> Iterator[SeriesKey]:
        return iter(tuple(self._by_key))

    def forget(self, key: SeriesKey, purge: bytes) -> None:
        """Begin anew after a purge."""
        self._by_key[key] = Ledger(purge=purge)


def _lacks(series: Series, known: tuple[Span, ...]) -> bool:
    """Whether anything of `known` below our tail is not known here any more."""
    start_ms = series.tail.start_ms if series.tail is not None else _FOREVER
    return any(series.coverage.gaps(lo, min(hi, start_ms)) for lo, hi in known if lo < start_ms)
