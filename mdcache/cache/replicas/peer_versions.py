"""The versions of each series that this replica last saw in the shared store, so that only changes are sent. Pure."""

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
_MAX_BLOCKS = 256  # of a series: a page touches three; a scan of the past sees each of them once


@dataclass(frozen=True, slots=True)
class BlockVersion:
    """A block as it is stored: its version, what it covers, and its revised rows with the as-of of each revision."""

    version: bytes
    covered: tuple[Span, ...]
    revised: Mapping[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class SeenVersions:
    """What was last seen of one series. `pulled_s`: when, by the clock's `now()`."""

    epoch: bytes = b""
    revisions: int = 0
    last_purge: bytes = b""
    tail_version: bytes = b""
    tail_as_of_ms: int = -1
    empty_ranges_version: bytes = b""
    blocks: dict[int, BlockVersion] = field(default_factory=dict)
    pulled_s: float = float("-inf")

    def known_versions(self, series: Series, indexes: Iterable[int]) -> KnownVersions:
        """Return the versions that this replica saw, without those that memory no longer holds."""
        mine = series.tail
        tail = self.tail_version if mine is not None and mine.as_of_ms >= self.tail_as_of_ms else b""
        blocks = {}
        for index in indexes:
            version = self.blocks.get(index)
            whole = version is not None and not _lacks(series, version.covered)
            blocks[index] = (version.version if version is not None and whole else b"", series.blocks.find(index))
        return KnownVersions(self.epoch, self.revisions, tail, self.empty_ranges_version, blocks)

    def build_push(
        self, series: Series, indexes: Iterable[int], lease: Lease | None, *, as_of_publishable: bool
    ) -> Push:
        """Build the push of these blocks, the tail and the empty ranges.

        Args:
            series: The series.
            indexes: Its blocks to push. A block that is stored with more coverage than we still have is left out,
                because pushing it would remove that coverage.
            lease: Ends with the push.
            as_of_publishable: Other replicas may rely on the as-of of our tail.
        """
        shared = export_state(series, indexes)
        tail = shared.tail
        newer = as_of_publishable and tail is not None and tail.as_of_ms > self.tail_as_of_ms
        start_ms = tail.start_ms if tail is not None else _FOREVER
        blocks, revised_blocks, versions = {}, set(), {}
        for index, block in shared.blocks.items():
            version = self.blocks.get(index, BlockVersion(b"", ()))
            beyond = any(end > start_ms for _, end in version.covered)
            if _lacks(series, version.covered) or (beyond and not newer):
                continue
            blocks[index] = block
            versions[index] = (version.version, None)
            if any(version.revised.get(t) != ms for t, ms in block.revised_as_of.items()):
                revised_blocks.add(index)
        have = KnownVersions(self.epoch, self.revisions, self.tail_version, self.empty_ranges_version, versions)
        given = SeriesState(tail if newer else None, shared.outside_blocks, shared.empty_ranges, blocks)
        return Push(have, given, frozenset(revised_blocks), lease)

    def record_pull(self, found: PullResult, indexes: Iterable[int]) -> None:
        """Note what a pull of these blocks found."""
        self.epoch, self.tail_version, self.empty_ranges_version = (
            found.epoch,
            found.tail_version,
            found.empty_ranges_version,
        )
        self.tail_as_of_ms = found.tail_as_of_ms
        for index in indexes:
            stored = found.block_versions.get(index)
            before = self.blocks.pop(index, None)
            if stored is None:
                continue
            block = found.state.blocks.get(index)
            revised = block.revised_as_of if block is not None else before.revised if before is not None else {}
            self.blocks[index] = BlockVersion(stored[0], () if index in found.unreadable else stored[1], revised)
        while len(self.blocks) > _MAX_BLOCKS:
            del self.blocks[next(iter(self.blocks))]

    def record_push(self, push: Push, found: PullResult) -> None:
        """Note that what we pushed is stored."""
        self.epoch, self.revisions = found.epoch, found.revisions
        self.tail_version, self.empty_ranges_version = found.tail_version, found.empty_ranges_version
        if push.state.tail is not None:
            self.tail_as_of_ms = push.state.tail.as_of_ms
        for index, (stored, known) in found.block_versions.items():
            self.blocks[index] = BlockVersion(stored, known, push.state.blocks[index].revised_as_of)


class SeenVersionsBySeries:
    """What was last seen of all series. If there are too many, the oldest is dropped, and later pulled in full."""

    def __init__(self) -> None:
        self._by_key: OrderedDict[SeriesKey, SeenVersions] = OrderedDict()

    def of(self, key: SeriesKey) -> SeenVersions:
        """Return what was last seen of a series; empty if nothing was."""
        seen = self._by_key.setdefault(key, SeenVersions())
        self._by_key.move_to_end(key)
        if len(self._by_key) > _MAX_SERIES:
            self._by_key.popitem(last=False)
        return seen

    def __iter__(self) -> Iterator[SeriesKey]:
        return iter(tuple(self._by_key))

    def forget(self, key: SeriesKey, last_purge: bytes) -> None:
        """Forget what was seen of a series, because it was purged."""
        self._by_key[key] = SeenVersions(last_purge=last_purge)


def _lacks(series: Series, known: tuple[Span, ...]) -> bool:
    """Return whether any of `known` below our tail is no longer covered here."""
    start_ms = series.tail.start_ms if series.tail is not None else _FOREVER
    return any(series.coverage.gaps(lo, min(hi, start_ms)) for lo, hi in known if lo < start_ms)
