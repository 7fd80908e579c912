"""What rests: the blocks in whose spans it lies."""

from mdcache.candles.stored_ranges import StoredRanges


def test_blocks_are_found_by_what_is_known_in_them() -> None:
    resting = StoredRanges(width_ms=100)
    resting.add(150, 160)
    resting.add(190, 310)
    assert resting.block_indexes(0, 1_000) == [1, 2, 3]
    assert resting.block_indexes(160, 190) == []
    assert resting.block_indexes(155, 200) == [1]
    assert resting.block_indexes(309, 400) == [3]


def test_around_a_span_are_all_blocks_that_it_touches() -> None:
    resting = StoredRanges(width_ms=100)
    resting.add(150, 160)
    assert resting.block_indexes_around(180, 190) == [1]
    assert resting.block_indexes_around(200, 210) == []
    assert resting.block_indexes_around(99, 101) == [1]
