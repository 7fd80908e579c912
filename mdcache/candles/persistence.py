"""The port of a store of series, and the plain values that it stores.

Settled rows only: a tail is never stored. Spans are [start, end) of open time, in milliseconds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from mdcache.candles.block import Block
from mdcache.candles.empty_ranges import EmptyRange
from mdcache.candles.ranges import Span
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import Market


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """A block and the covered parts of its aligned span; `from_dumps`: those that no read has confirmed."""

    block: Block
    coverage: tuple[Span, ...]
    from_dumps: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class SeriesOutline:
    """What a store has of a series, without the rows.

    `outside_blocks`: covered spans that lie in no block's span, because they have no rows. `empty_ranges`: those that
    may still fill. `blocks`: by index, the covered parts of each stored block's span.
    """

    outside_blocks: tuple[Span, ...] = ()
    empty_ranges: tuple[EmptyRange, ...] = ()
    blocks: Mapping[int, tuple[Span, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SeriesChange:
    """What changed in a series since it was last saved; stored as a whole or not at all.

    `outside_blocks` and `empty_ranges` are complete, as in `SeriesOutline`. `blocks`: only those that changed; `None`
    removes a block.
    """

    outside_blocks: tuple[Span, ...]
    empty_ranges: tuple[EmptyRange, ...]
    blocks: Mapping[int, StoredBlock | None]


@dataclass(frozen=True, slots=True)
class SeriesFilter:
    """Selects the series that match every field; `None` matches all."""

    market: Market | None = None
    subject: str | None = None
    interval: str | None = None

    @property
    def whole_markets(self) -> bool:
        """Whether it matches every series of a market, or of all markets."""
        return self.subject is None and self.interval is None

    def matches(self, key: SeriesKey) -> bool:
        """Return whether `key` matches."""
        return (
            self.market in (None, key.market)
            and self.subject in (None, key.subject)
            and self.interval in (None, key.interval)
        )


class RowStore(Protocol):
    """A store of series. It never raises for its own faults: what can't be read counts as not stored.

    A load sees everything that was saved before it, whether or not it has been written yet.
    """

    async def outline(self, key: SeriesKey) -> SeriesOutline:
        """Return what is stored of a series. After a fault it is empty, and stays so."""

    async def block_indexes(self) -> dict[SeriesKey, list[int]]:
        """Return the indexes of the blocks stored of each series; none after a fault."""

    async def blocks(self, key: SeriesKey, indexes: Iterable[int]) -> dict[int, StoredBlock]:
        """Return those of the blocks that are stored and intact."""

    def save(self, key: SeriesKey, change: SeriesChange) -> None:
        """Store `change` soon."""

    async def flush(self) -> str:
        """Wait until everything saved is written; return what is wrong with the store, in one clause, or nothing."""

    def touch(self, key: SeriesKey, indexes: Iterable[int]) -> None:
        """Note that these blocks were used."""

    async def purge(self, series_filter: SeriesFilter) -> int:
        """Delete the matching series; return how many were stored, once they are gone."""
