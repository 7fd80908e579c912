"""What waits to be written to the disk: it joins, it is taken and put back in order, and it is bounded."""

from mdcache.candles.persistence import SeriesFilter
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import Market
from mdcache.stores.disk import pending_writes
from mdcache.stores.disk.pending_writes import PendingWrite, PendingWrites
from tests.support.disk_row_store import KEY, OTHER, series_change, stored_block


def write(*blocks: int) -> PendingWrite:
    return PendingWrite(change=series_change(*(stored_block(index, 2) for index in blocks)))


def keys(count: int) -> list[SeriesKey]:
    return [SeriesKey(Market.SPOT, "klines", f"S{n}", "", "1m") for n in range(count)]


def test_changes_of_a_series_join() -> None:
    pending = PendingWrites()
    pending.add(KEY, write(1, 2))
    pending.add(KEY, write(3))
    assert len(pending) == 1
    (work,) = pending.begin(10)
    assert work.change is not None
    assert sorted(work.change.blocks) == [1, 2, 3]


def test_what_is_being_written_is_still_seen_below_what_waits() -> None:
    pending = PendingWrites()
    pending.add(KEY, write(1))
    works = pending.begin(10)
    pending.add(KEY, PendingWrite(discard_first=True))
    assert pending.of(KEY) == PendingWrite(discard_first=True)
    pending.end(works, 1)
    assert pending.of(KEY) == PendingWrite(discard_first=True)
    assert pending.of(OTHER) == PendingWrite()


def test_what_was_not_written_waits_again() -> None:
    first, second, third, fourth = keys(4)
    pending = PendingWrites()
    for key in (first, second, third):
        pending.add(key, write(1))
    works = pending.begin(3)
    pending.add(fourth, write(1))
    pending.end(works, 1)
    assert [work.key for work in pending.begin(10)] == [second, third, fourth]
    pending.end([], 0)


def test_where_nothing_could_be_written_the_others_come_first() -> None:
    first, second = keys(2)
    pending = PendingWrites()
    for key in (first, second):
        pending.add(key, write(1))
    pending.end(pending.begin(1), 0)
    assert [work.key for work in pending.begin(10)] == [second, first]


def test_bytes_are_counted_through_it_all() -> None:
    pending = PendingWrites()
    one, two = write(1).nbytes, write(1, 2).nbytes
    pending.add(KEY, write(1))
    pending.add(OTHER, write(1))
    pending.add(OTHER, write(2))
    assert pending.nbytes == one + two
    works = pending.begin(1)
    assert pending.nbytes == two
    pending.end(works, 0)
    assert pending.nbytes == one + two
    pending.drop(SeriesFilter(market=Market.USDM))
    assert pending.nbytes == one
    pending.end(pending.begin(1), 1)
    assert pending.nbytes == 0
    assert not pending


def test_a_purge_that_waits_counts_as_done() -> None:
    pending = PendingWrites()
    pending.purges.append(SeriesFilter(subject="BTCUSDT", interval="1m"))
    assert pending.of(KEY).discard_first
    assert not pending.of(OTHER).discard_first
    assert pending


def test_a_purge_reaches_what_is_being_written() -> None:
    pending = PendingWrites()
    pending.add(KEY, write(1))
    works = pending.begin(1)
    pending.drop(SeriesFilter())
    assert pending.of(KEY) == PendingWrite(discard_first=True)
    pending.end(works, 0)
    assert pending.begin(1)[0].discard_first


def test_too_many_series_are_forgotten_altogether() -> None:
    pending = PendingWrites()
    for key in keys(pending_writes._MAX_SERIES + 1):
        pending.add(key, PendingWrite(touched={1}))
    assert (len(pending), pending.purges) == (0, [SeriesFilter()])
