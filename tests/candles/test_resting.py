"""What rests: the blocks in whose spans it lies."""

from mdcache.candles.resting import Resting


def test_blocks_are_found_by_what_is_known_in_them() -> None:
    resting = Resting(width_ms=100)
    resting.add(150, 160)
    resting.add(190, 310)
    assert resting.indexes(0, 1_000) == [1, 2, 3]
    assert resting.indexes(160, 190) == []
    assert resting.indexes(155, 200) == [1]
    assert resting.indexes(309, 400) == [3]


def test_around_a_span_are_all_blocks_that_it_touches() -> None:
    resting = Resting(width_ms=100)
    resting.add(150, 160)
    assert resting.around(180, 190) == [1]
    assert resting.around(200, 210) == []
    assert resting.around(99, 101) == [1]
