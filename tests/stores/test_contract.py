"""One contract over the places where settled rows are: memory, the disk after a restart, and Redis for another replica.

Their ports differ (a shelf in the process, an outline with blocks, an exchange of news), so the contract is that of the
data path over each: what one was told is told again, byte for byte, and Binance is not asked for it.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from mdcache.candles.persistence import SeriesFilter
from tests.support.virtual_daemon import VirtualDaemon
from tests.support.virtual_replicas import MINUTE, PLENTY, SPOT, virtual_replicas

pytestmark = pytest.mark.virtual

LATER_S = 0.1  # what was read is in Redis by then


class StorePlace:
    """`world` reads; `again()` is who should know what it read."""

    def __init__(
        self,
        world: VirtualDaemon,
        again: Callable[[], Awaitable[VirtualDaemon]],
        others: tuple[VirtualDaemon, ...] = (),
    ) -> None:
        self.world = world
        self.again = again
        self._others = others

    async def end(self) -> None:
        for world in (self.world, *self._others):
            await world.aclose()

    async def purge(self, which: SeriesFilter) -> None:
        await self.world.cache.purge.run(which)

    async def costs_nothing(self, query: str, path: str = SPOT) -> None:
        """The question is answered right by who should know, and at no kline call."""
        knows = await self.again()
        before = len(knows.calls())
        answer = await knows.ask(path, query)
        assert answer.body == knows.exchange.truth(path, query, at_ms=answer.as_of_ms)
        assert knows.calls(before) == []


async def memory(_: Path) -> StorePlace:
    world = VirtualDaemon(PLENTY)

    async def again() -> VirtualDaemon:
        return world

    return StorePlace(world, again)


async def disk(folder: Path) -> StorePlace:
    world = VirtualDaemon(PLENTY, folder=folder)

    async def again() -> VirtualDaemon:
        await world.aclose()
        world.restart()
        return world

    return StorePlace(world, again)


async def redis(_: Path) -> StorePlace:
    made = await virtual_replicas(2)

    async def again() -> VirtualDaemon:
        await made[0].clock.sleep(LATER_S)
        return made[1]

    return StorePlace(made[0], again, (made[1],))


Make = Callable[[Path], Awaitable[StorePlace]]
everywhere = pytest.mark.parametrize("make", [memory, disk, redis])


def span(world: VirtualDaemon, first: int, last: int, symbol: str = "BTCUSDT", interval: str = "1m") -> str:
    """Minutes ago, the older first."""
    now = world.clock.true_ms() // MINUTE * MINUTE
    times = f"startTime={now - first * MINUTE}&endTime={now - last * MINUTE}&limit=1000"
    return f"symbol={symbol}&interval={interval}&{times}"


@everywhere
async def test_settled_rows_are_read_once(make: Make, tmp_path: Path) -> None:
    place = await make(tmp_path)
    query = span(place.world, 3_000, 2_100)
    await place.world.ask(SPOT, query)
    await place.costs_nothing(query)
    await place.costs_nothing(span(place.world, 2_900, 2_800))
    await place.end()


@everywhere
async def test_a_span_grows_at_both_ends(make: Make, tmp_path: Path) -> None:
    place = await make(tmp_path)
    for first, last in ((3_000, 2_900), (3_300, 2_950), (2_950, 2_500)):
        await place.world.ask(SPOT, span(place.world, first, last))
    await place.costs_nothing(span(place.world, 3_300, 2_500))
    await place.end()


@everywhere
async def test_a_hole_and_the_time_before_the_listing_are_known(make: Make, tmp_path: Path) -> None:
    place = await make(tmp_path)
    listing = "symbol=SOLUSDT&interval=1d&startTime=0&limit=1"
    outage = f"symbol=BTCUSDT&interval=1h&startTime={1518048000000}&endTime={1518220800000}&limit=100"
    for query in (listing, outage):
        await place.world.ask(SPOT, query)
    for query in (listing, outage):
        await place.costs_nothing(query)
    await place.end()


@everywhere
async def test_a_row_that_was_found_changed_stays_so(make: Make, tmp_path: Path) -> None:
    place = await make(tmp_path)
    world = place.world
    latest = "symbol=BTCUSDT&interval=1m&limit=500"
    await world.ask(SPOT, latest)
    opened = (world.clock.true_ms() // MINUTE - 30) * MINUTE
    world.exchange.control.revise(SPOT, "BTCUSDT", "1m", opened, volume="1.5", trades=2)
    await world.clock.sleep(3.0)
    await world.ask(SPOT, latest)  # the tail's read overlaps it
    await place.costs_nothing(f"symbol=BTCUSDT&interval=1m&startTime={opened - MINUTE}&endTime={opened + MINUTE}")
    await place.end()


@everywhere
async def test_series_are_kept_apart(make: Make, tmp_path: Path) -> None:
    place = await make(tmp_path)
    queries = [span(place.world, 3_000, 2_900, symbol, "3m") for symbol in ("BTCUSDT", "ETHUSDT")]
    queries += [query + "&timeZone=8" for query in queries]
    for path in (SPOT, "/api/v3/uiKlines"):
        for query in queries:
            await place.world.ask(path, query)
    for path in (SPOT, "/api/v3/uiKlines"):
        for query in queries:
            await place.costs_nothing(query, path)
    await place.end()


@everywhere
async def test_what_was_purged_is_read_anew_and_nothing_else(make: Make, tmp_path: Path) -> None:
    place = await make(tmp_path)
    gone, stays = span(place.world, 3_000, 2_900), span(place.world, 3_000, 2_900, "ETHUSDT")
    for query in (gone, stays):
        await place.world.ask(SPOT, query)
    await place.purge(SeriesFilter(subject="BTCUSDT"))
    await place.costs_nothing(stays)
    knows = await place.again()
    before = len(knows.calls())
    await knows.ask(SPOT, gone)
    assert len(knows.calls(before)) == 1
    await place.costs_nothing(gone)
    await place.end()
