"""A series at rest: what a store keeps of it, as plain values, and what such a store promises.

Settled rows only: a tail never rests. All spans are of open time, [start, end), in milliseconds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from mdcache.candles.block import Block
from mdcache.candles.empty_ranges import EmptyRange
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import Market

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """A block and the parts of its aligned span that are known."""

    block: Block
    coverage: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class SeriesOutline:
    """What is known of a series but for its rows.

    `bare`: known spans that lie in no block's span, for there is no row in them. `voids`: emptiness that may still
    fill. `blocks`: by index, the parts of each resting block's span that are known.
    """

    outside_blocks: tuple[Span, ...] = ()
    empty_ranges: tuple[EmptyRange, ...] = ()
    blocks: Mapping[int, tuple[Span, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SeriesChange:
    """What is new about a series since it was last saved: to be kept whole, or not at all.

    `bare` and `voids` as in `SeriesOutline`, all of them; `blocks`: those that changed, `None` where one is gone.
    """

    outside_blocks: tuple[Span, ...]
    empty_ranges: tuple[EmptyRange, ...]
    blocks: Mapping[int, StoredBlock | None]


@dataclass(frozen=True, slots=True)
class SeriesFilter:
    """The series that match all that is given."""

    market: Market | None = None
    subject: str | None = None
    interval: str | None = None

    def matches(self, key: SeriesKey) -> bool:
        """Whether `key` is one of them."""
        return (
            self.market in (None, key.market)
            and self.subject in (None, key.subject)
            and self.interval in (None, key.interval)
        )


class RowStore(Protocol):
    """Where series rest. It never raises for a fault of its own: what it can't give was never there.

    One reading later sees what was saved before it, whether or not that is on the medium yet.
    """

    async def outline(self, key: SeriesKey) -> SeriesOutline:
        """What rests of a series; after a fault nothing does, for good."""
        ...

    async def blocks(self, key: SeriesKey, indexes: Iterable[int]) -> dict[int, StoredBlock]:
        """Those of the blocks that are there and whole."""
        ...

    def save(self, key: SeriesKey, change: SeriesChange) -> None:
        """Keep `change`, soon."""
        ...

    def touch(self, key: SeriesKey, indexes: Iterable[int]) -> None:
        """These blocks were asked for."""
        ...

    async def purge(self, series_filter: SeriesFilter) -> int:
        """Forget the series that match; returns how many rested, when they are gone."""
        ...
