"""The ledger: what this replica last saw in the commons of each series, so that only news need travel. Pure."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from mdcache.candles.ranges import Span
from mdcache.candles.replication import SeriesState, export_state
from mdcache.candles.series import Series
from mdcache.candles.shared_rows import KnownVersions, PullResult, Push
from mdcache.exchange.klines import SeriesKey
from mdcache.leases import Lease

_FOREVER = 1 << 62
_MAX_SERIES = 50_000
_MAX_BLOCKS = 256  # of a series: a page touches three blocks; who scans the past meets each of them once


@dataclass(frozen=True, slots=True)
class BlockVersion:
    """A block as it was there: its mark, what was known in it, and which of its rows were known to be revised."""

    version: bytes
    covered: tuple[Span, ...]
    revised: Mapping[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class SeenVersions:
    """Of one series. `looked_s`: when it was last seen."""

    epoch: bytes = b""
    revisions: int = 0
    last_purge: bytes = b""
    tail_version: bytes = b""
    tail_as_of_ms: int = -1
    empty_ranges_version: bytes = b""
    blocks: dict[int, BlockVersion] = field(default_factory=dict)
    pulled_s: float = float("-inf")

    def known_versions(self, series: Series, indexes: Iterable[int]) -> KnownVersions:
        """What we have of what we saw, as far as memory still holds it."""
        mine = series.tail
        tail = self.tail_version if mine is not None and mine.as_of_ms >= self.tail_as_of_ms else b""
        blocks = {}
        for index in indexes:
            card = self.blocks.get(index)
            whole = card is not None and not _lacks(series, card.covered)
            blocks[index] = (card.version if card is not None and whole else b"", series.blocks.find(index))
        return KnownVersions(self.epoch, self.revisions, tail, self.empty_ranges_version, blocks)

    def build_push(
        self, series: Series, indexes: Iterable[int], lease: Lease | None, *, as_of_publishable: bool
    ) -> Push:
        """What there is to give of these blocks and the rest; `trusted`: our tail's as-of may be told to others.

        A block of which others know more than we still do is not given: it would take that away.
        """
        shared = export_state(series, indexes)
        tail = shared.tail
        newer = as_of_publishable and tail is not None and tail.as_of_ms > self.tail_as_of_ms
        start_ms = tail.start_ms if tail is not None else _FOREVER
        blocks, told, marks = {}, set(), {}
        for index, block in shared.blocks.items():
            card = self.blocks.get(index, BlockVersion(b"", ()))
            beyond = any(end > start_ms for _, end in card.covered)
            if _lacks(series, card.covered) or (beyond and not newer):
                continue
            blocks[index] = block
            marks[index] = (card.version, None)
            if any(card.revised.get(t) != ms for t, ms in block.revised_as_of.items()):
                told.add(index)
        have = KnownVersions(self.epoch, self.revisions, self.tail_version, self.empty_ranges_version, marks)
        given = SeriesState(tail if newer else None, shared.outside_blocks, shared.empty_ranges, blocks)
        return Push(have, given, frozenset(told), lease)

    def record_pull(self, found: PullResult, indexes: Iterable[int]) -> None:
        """Note what was there, of these blocks and the rest."""
        self.epoch, self.tail_version, self.empty_ranges_version = (
            found.epoch,
            found.tail_version,
            found.empty_ranges_version,
        )
        self.tail_as_of_ms = found.tail_as_of_ms
        for index in indexes:
            mark = found.block_versions.get(index)
            before = self.blocks.pop(index, None)
            if mark is None:
                continue
            block = found.state.blocks.get(index)
            revised = block.revised_as_of if block is not None else before.revised if before is not None else {}
            self.blocks[index] = BlockVersion(mark[0], () if index in found.unreadable else mark[1], revised)
        while len(self.blocks) > _MAX_BLOCKS:
            del self.blocks[next(iter(self.blocks))]

    def record_push(self, gift: Push, found: PullResult) -> None:
        """Note that what we gave is there now."""
        self.epoch, self.revisions = found.epoch, found.revisions
        self.tail_version, self.empty_ranges_version = found.tail_version, found.empty_ranges_version
        if gift.state.tail is not None:
            self.tail_as_of_ms = gift.state.tail.as_of_ms
        for index, (mark, known) in found.block_versions.items():
            self.blocks[index] = BlockVersion(mark, known, gift.state.blocks[index].revised_as_of)


class SeenVersionsBySeries:
    """Of all series; the one seen longest ago goes when there are too many, and costs an exchange of everything."""

    def __init__(self) -> None:
        self._by_key: OrderedDict[SeriesKey, SeenVersions] = OrderedDict()

    def of(self, key: SeriesKey) -> SeenVersions:
        """The series' ledger."""
        ledger = self._by_key.setdefault(key, SeenVersions())
        self._by_key.move_to_end(key)
        if len(self._by_key) > _MAX_SERIES:
            self._by_key.popitem(last=False)
        return ledger

    def __iter__(self) -> Iterator[SeriesKey]:
        return iter(tuple(self._by_key))

    def forget(self, key: SeriesKey, last_purge: bytes) -> None:
        """Begin anew after a purge."""
        self._by_key[key] = SeenVersions(last_purge=last_purge)


def _lacks(series: Series, known: tuple[Span, ...]) -> bool:
    """Whether anything of `known` below our tail is not known here any more."""
    start_ms = series.tail.start_ms if series.tail is not None else _FOREVER
    return any(series.coverage.gaps(lo, min(hi, start_ms)) for lo, hi in known if lo < start_ms)
