"""What a store keeps of a series, as plain values, and the port of such a store.

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
    """A block and the covered parts of its aligned span."""

    block: Block
    coverage: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class SeriesOutline:
    """What a store knows of a series, without the rows.

    `outside_blocks`: covered spans that no block's span contains, for there are no rows in them. `empty_ranges`:
    emptiness that may still fill. `blocks`: by index, the covered parts of each stored block's span.
    """

    outside_blocks: tuple[Span, ...] = ()
    empty_ranges: tuple[EmptyRange, ...] = ()
    blocks: Mapping[int, tuple[Span, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SeriesChange:
    """What changed in a series since it was last saved; to be stored whole, or not at all.

    `outside_blocks` and `empty_ranges` are complete, as in `SeriesOutline`. `blocks`: only those that changed; `None`
    removes a block.
    """

    outside_blocks: tuple[Span, ...]
    empty_ranges: tuple[EmptyRange, ...]
    blocks: Mapping[int, StoredBlock | None]


@dataclass(frozen=True, slots=True)
class SeriesFilter:
    """The series that match everything given; `None` matches all."""

    market: Market | None = None
    subject: str | None = None
    interval: str | None = None

    @property
    def whole_markets(self) -> bool:
        """Whether it matches every series of a market, or of all."""
        return self.subject is None and self.interval is None

    def matches(self, key: SeriesKey) -> bool:
        """Tell whether `key` matches."""
        return (
            self.market in (None, key.market)
            and self.subject in (None, key.subject)
            and self.interval in (None, key.interval)
        )


class RowStore(Protocol):
    """A store of series. It raises nothing for faults of its own: what can't be read was never stored.

    A read sees everything that was saved before it, whether or not that has reached the medium yet.
    """

    async def outline(self, key: SeriesKey) -> SeriesOutline:
        """Return what is stored of a series. After a fault that is nothing, for good."""
        ...

    async def blocks(self, key: SeriesKey, indexes: Iterable[int]) -> dict[int, StoredBlock]:
        """Return those of the blocks that are stored and intact."""
        ...

    def save(self, key: SeriesKey, change: SeriesChange) -> None:
        """Store `change` soon."""
        ...

    def touch(self, key: SeriesKey, indexes: Iterable[int]) -> None:
        """Note that these blocks were used."""
        ...

    async def purge(self, series_filter: SeriesFilter) -> int:
        """Delete the matching series; return how many were stored, once they are gone."""
        ...
