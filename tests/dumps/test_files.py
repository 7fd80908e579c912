"""Names of dump files, which of them a span needs, and which candles can be whole in them."""

from datetime import UTC, date, datetime

import pytest

from mdcache.dumps.csv_rows import CsvRows
from mdcache.dumps.files import DumpFile, files_for, is_overdue, is_symbol
from mdcache.exchange.markets import Market

DAY = 86_400_000


NOW = 1_790_771_371_858


def ms(year: int, month: int, day: int, hour: int = 0) -> int:
    return int(datetime(year, month, day, hour, tzinfo=UTC).timestamp()) * 1000


@pytest.mark.parametrize(
    ("file", "path"),
    [
        (
            DumpFile(Market.SPOT, "BTCUSDT", "1m", date(2024, 1, 1), daily=False),
            "data/spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01.zip",
        ),
        (
            DumpFile(Market.USDM, "BTCUSDT_240329", "1h", date(2024, 2, 29), daily=True),
            "data/futures/um/daily/klines/BTCUSDT_240329/1h/BTCUSDT_240329-1h-2024-02-29.zip",
        ),
        (
            DumpFile(Market.COINM, "BTCUSD_PERP", "1M", date(2023, 12, 1), daily=False),
            "data/futures/cm/monthly/klines/BTCUSD_PERP/1mo/BTCUSD_PERP-1mo-2023-12.zip",
        ),
    ],
)
def test_paths_are_those_of_the_host(file: DumpFile, path: str) -> None:
    assert file.path == path


def test_whole_months_and_then_days_until_two_days_ago() -> None:
    now = ms(2026, 3, 5, 7)
    found = [each.name for each in files_for(Market.SPOT, "A", "1m", ms(2025, 12, 31, 5), now, now)]
    months = ["A-1m-2025-12.zip", "A-1m-2026-01.zip", "A-1m-2026-02.zip"]
    assert found == [*months, "A-1m-2026-03-01.zip", "A-1m-2026-03-02.zip", "A-1m-2026-03-03.zip"]
    only = [each.name for each in files_for(Market.SPOT, "A", "1m", ms(2026, 3, 2, 5), ms(2026, 3, 2, 6), now)]
    assert only == ["A-1m-2026-03-02.zip"]
    assert [each.name for each in files_for(Market.SPOT, "A", "1w", ms(2026, 2, 1), now, now)] == ["A-1w-2026-02.zip"]
    first = ms(2026, 3, 1, 23)
    assert [each.name for each in files_for(Market.SPOT, "A", "1m", first - 40 * DAY, first, first)][-1] == (
        "A-1m-2026-02-27.zip"
    )


def test_no_file_is_expected_from_before_binance() -> None:
    first = next(iter(files_for(Market.SPOT, "A", "1m", 0, NOW, NOW)))
    assert first.name == "A-1m-2017-07.zip"


def test_a_month_has_its_days_and_a_bound() -> None:
    file = DumpFile(Market.SPOT, "A", "1m", date(2024, 2, 1), daily=False)
    days = file.days()
    assert (len(days), days[0].span[0], days[-1].span[1]) == (29, *file.span)
    assert all(day.days() == [] for day in days)
    assert file.max_rows == 29 * 1440
    assert is_overdue(file, ms(2024, 6, 1))
    assert not is_overdue(file, ms(2024, 3, 20))


def test_no_name_leads_out_of_its_folder() -> None:
    assert all(map(is_symbol, ("BTCUSDT", "BTCUSDT_240329", "币安人生USDT", "1000SHIBUSDT")))
    assert not any(map(is_symbol, ("", "../A", "A/B", "A\\B", "A.B", "A B", "A" * 51, "A\0")))


@pytest.mark.parametrize(
    ("interval", "first", "opens", "whole"),
    [
        ("1w", date(2026, 1, 1), (ms(2026, 1, 19), ms(2026, 1, 26)), 1),  # on February 2 the second one has just ended
        ("3d", date(2026, 1, 1), (ms(2026, 1, 28), ms(2026, 1, 31)), 1),  # until then it lasts
        ("3d", date(2026, 5, 1), (ms(2026, 5, 28), ms(2026, 5, 31)), 1),  # the file is of June 1, and so for ever
    ],
)
def test_candles_that_end_after_their_file_was_made_are_left(
    interval: str, first: date, opens: tuple[int, ...], whole: int
) -> None:
    file = DumpFile(Market.SPOT, "A", interval, first, daily=False)
    length = {"3d": 3, "1w": 7}[interval] * DAY
    one = "1.00000000"
    lines = [
        f"{at}000,{one},{one},{one},{one},{one},{at + length - 1}999,{one},1,{one},{one},0".encode() for at in opens
    ]
    now = ms(2026, 2, 2, 7) if first.month == 1 else ms(2026, 9, 1)
    reader = CsvRows(file, now)
    assert [row.open_ms for rows in reader.read([b"\n".join(lines)]) for row in rows] == [*opens[:whole]]
    assert reader.refused == len(opens) - whole


def test_weeks_that_had_ended_when_the_month_was_published_are_whole() -> None:
    file = DumpFile(Market.SPOT, "A", "1w", date(2026, 1, 1), daily=False)
    assert file.closed_before(ms(2026, 9, 1)) == ms(2026, 2, 2)  # the week of January 26 has closed
    day = DumpFile(Market.SPOT, "A", "1m", date(2026, 1, 31), daily=True)
    assert day.closed_before(ms(2026, 9, 1)) == ms(2026, 2, 1) == day.span[1]


def test_rows_whose_zeros_are_left_out_are_not_taken_for_those_of_rest() -> None:
    file = DumpFile(Market.USDM, "A", "1h", date(2024, 1, 1), daily=True)
    opens = range(file.span[0], file.span[1], 3_600_000)
    quotes = ["7.5", "7.50001", "7.6", "7.12345", "7.10001", "7.98"]  # REST: 7.50000 and so on
    lines = [
        f"{at},1.10,1.20,1.00,1.10,5.000,{at + 3_599_999},{quote},3,1.000,1.00001,0".encode()
        for at, quote in zip(opens, quotes, strict=False)
    ]
    reader = CsvRows(file, ms(2026, 1, 1))
    taken = [row.open_ms for rows in reader.read([b"\n".join(lines)]) for row in rows]
    assert taken == [opens[1], opens[3], opens[4]]
    assert reader.refused == 3


@pytest.mark.parametrize(("column", "broken"), [(2, "-1.20"), (5, "1-2.500"), (5, "-5.000"), (7, "7-.50000")])
def test_lines_with_broken_numbers_are_left_out(column: int, broken: str) -> None:
    file = DumpFile(Market.USDM, "A", "1h", date(2024, 1, 1), daily=True)
    rows = [
        f"{at},1.10,1.20,1.00,1.10,5.000,{at + 3_599_999},7.50000,3,1.000,1.00001,0".split(",")
        for at in range(file.span[0], file.span[1], 3_600_000)
    ]
    rows[3][column] = broken
    reader = CsvRows(file, ms(2026, 1, 1))
    taken = [row for rows in reader.read(["\n".join(map(",".join, rows)).encode()]) for row in rows]
    assert len(taken) == len(rows) - 1
    assert reader.refused == 1
