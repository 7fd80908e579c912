"""What is settled, compared with a reply that shows it again."""

from dataclasses import replace

import pytest

from mdcache.candles.merge import Revision
from mdcache.candles.row_comparison import RowComparison, compare_rows
from mdcache.candles.window import Window, WindowKind
from mdcache.exchange.rows import Row
from tests.candles.timeline import at, make_series, row, rows, settle

ALL = Window(WindowKind.RANGE, at(0), at(9), 100)


@pytest.mark.parametrize(
    ("window", "page", "expected"),
    [
        (ALL, rows(0, 9), RowComparison(10, (), 0)),
        (ALL, rows(0, 9, trades={4: 7}), RowComparison(9, (Revision(at(4), row(4).raw, row(4, 7).raw),), 0)),
        (ALL, rows(0, 9, without=[4]), RowComparison(9, (Revision(at(4), row(4).raw, b""),), 0)),
        (ALL, rows(0, 7), RowComparison(8, (), 2)),  # a page that ends early proves nothing of what follows
        (replace(ALL, end_ms=at(4)), rows(0, 4), RowComparison(5, (), 0)),
        (replace(ALL, start_ms=at(5)), rows(5, 9), RowComparison(5, (), 0)),
    ],
)
def test_a_reply_is_compared_with_what_is_settled_in_its_window(
    window: Window, page: list[Row], expected: RowComparison
) -> None:
    series = make_series()
    settle(series, 0, 9)
    assert compare_rows(series, page, window, at(30)) == expected


def test_a_row_where_a_hole_was_known_is_new_and_one_outside_of_what_is_known_is_none() -> None:
    series = make_series()
    settle(series, 0, 9, without=[4])
    found = compare_rows(series, rows(0, 12), Window(WindowKind.RANGE, at(0), at(12), 100), at(30))
    assert found == RowComparison(9, (Revision(at(4), b"", row(4).raw),), 0)
