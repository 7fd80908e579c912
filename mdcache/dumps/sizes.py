"""What dump files a load would fetch, and how large they are."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mdcache.dumps.files import DumpFile, files_for, is_overdue
from mdcache.dumps.sources import DumpSource
from mdcache.exchange.markets import Market

_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class SeriesSizes:
    """The files of one series: how many there are, their bytes, and the most rows they can have.

    `missing`: files that are expected and not there, such as those of months before the listing.
    """

    symbol: str
    interval: str
    files: int
    nbytes: int
    rows: int
    missing: int


async def measure(
    source: DumpSource,
    market: Market,
    series: tuple[str, str],
    span: tuple[int, int],
    now_ms: int,
    on_file: Callable[[], None] = lambda: None,
) -> SeriesSizes:
    """Measure the files of one series.

    Args:
        source: Where they are.
        market: The market.
        series: The symbol and the interval.
        span: First and last open time.
        now_ms: The time: younger files are not expected.
        on_file: Called for each file.

    Raises:
        DumpsUnavailable: The source can't be asked.
    """
    room = asyncio.Semaphore(_AT_ONCE)

    async def size(file: DumpFile) -> tuple[DumpFile, int | None]:
        async with room:
            found = await source.size(file)
        on_file()
        return file, found

    async def sizes(files: Iterable[DumpFile]) -> list[tuple[DumpFile, int | None]]:
        return await asyncio.gather(*map(size, files))

    found = await sizes(files_for(market, *series, *span, now_ms))
    tried = [file for file, nbytes in found if nbytes is None and (source.cheap_misses or not is_overdue(file, now_ms))]
    days = [day for file in tried for day in file.days() if day.span[1] > span[0] and day.span[0] <= span[1]]
    found += await sizes(days)
    there = [(file, nbytes) for file, nbytes in found if nbytes is not None]
    rows = sum(file.max_rows for file, _ in there)
    return SeriesSizes(*series, len(there), sum(nbytes for _, nbytes in there), rows, len(found) - len(there))
