"""Merged rows: equal to the exchange's own rows of the longer interval, and to plain arithmetic."""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcache.candles.merged_rows import merge_rows
from mdcache.exchange.intervals import INTERVALS
from tests.sim.helpers import HOUR, MINUTE, SECOND, T0, Sim

FIXTURES = Path(__file__).parent.parent / "fixtures" / "rows"
PARTS = (
    '[0,"10.00","12.50","9.00","11.00","1.50",59999,"16.5000",3,"0.50","5.5000","0"]',
    '[60000,"11.00","11.00","11.00","11.00","0.00",119999,"0.0000",0,"0.00","0.0000","0"]',
    '[120000,"11.10","12.40","10.90","12.00","2.25",179999,"26.0000",5,"1.25","14.5000","0"]',
)
MERGED = '[0,"10.00","12.50","9.00","12.00","3.75",299999,"42.5000",8,"1.75","20.0000","0"]'


def merged(*parts: str, open_time: int = 0, close_time: int = 299_999) -> str | None:
    row = merge_rows([part.encode() for part in parts], open_time, close_time)
    return None if row is None else row.decode()


def test_sums_keep_the_decimals_and_prices_are_copied() -> None:
    assert merged(*PARTS) == MERGED


def test_parts_without_trades_lend_no_prices() -> None:
    gap = '[0,"8.00","8.00","8.00","8.00","0.00",59999,"0.0000",0,"0.00","0.0000","0"]'
    after = '[180000,"99.00","99.00","1.00","99.00","0.00",239999,"0.0000",0,"0.00","0.0000","0"]'
    traded = PARTS[2]
    assert merged(gap, PARTS[1], traded, after) == (
        '[0,"11.10","12.40","10.90","12.00","2.25",299999,"26.0000",5,"1.25","14.5000","0"]'
    )


def test_without_any_trade_the_price_that_all_print_is_printed() -> None:
    flat = [
        f'[{open_time},"7.00","7.00","7.00","7.00","0.00",{open_time + 59_999},"0.0000",0,"0.00","0.0000","0"]'
        for open_time in (0, 60_000)
    ]
    assert merged(*flat) == '[0,"7.00","7.00","7.00","7.00","0.00",299999,"0.0000",0,"0.00","0.0000","0"]'
    assert merged(flat[0], flat[1].replace("7.00", "7.01")) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"12.00"', '"12.000"'),
        lambda text: text.replace('"10.90"', '"10.9"'),
        lambda text: text.replace('"2.25"', '"2"'),
        lambda text: text.replace('"14.5000"', '"14.50000"'),
        lambda text: text.replace('"26.0000"', '"2.6e1000"'),
        lambda text: text.replace('"26.0000"', '"+26.000"'),
        lambda text: text.replace('"26.0000"', '"2_6.0000"'),
        lambda text: text.replace('"26.0000"', '""'),
        lambda text: text.replace('"26.0000"', '"2.60.000"'),
        lambda text: text.replace('"0"]', '"1"]'),
        lambda text: text.replace('"0"]', '"0","0"]'),
        lambda text: text.replace("[120000", "[121000"),
        lambda text: text.replace("[120000", "[119999"),
        lambda text: text.replace("179999", "300000"),
        lambda text: text.replace(",5,", ',"5",'),
        lambda text: text[:-1],
    ],
)
def test_what_is_not_plainly_right_gives_no_row(change: Callable[[str], str]) -> None:
    assert change(PARTS[2]) != PARTS[2]
    assert merged(*PARTS[:2], change(PARTS[2])) is None


def test_a_missing_part_gives_no_row() -> None:
    assert merged() is None
    assert merged(*PARTS[1:]) is None
    assert merged(PARTS[0], PARTS[2]) is None
    assert merged(*PARTS[1:], open_time=60_000) is not None


def test_numbers_of_any_size_stay_exact() -> None:
    huge = PARTS[0].replace('"1.50"', '"123456789012345678901234567890.99"')
    row = merged(huge, PARTS[1])
    assert row is not None
    assert '"123456789012345678901234567890.99"' in row


@st.composite
def parts(draw: st.DrawFn) -> list[list[str | int]]:
    """Consecutive rows of one symbol, with the decimals of some market."""
    price_places, volume_places, turnover_places = (draw(st.integers(0, 8)) for _ in range(3))

    def printed(unscaled: int, places: int) -> str:
        return f"{Decimal(unscaled).scaleb(-places):f}"

    rows: list[list[str | int]] = []
    close = printed(draw(st.integers(1, 10**14)), price_places)
    for index in range(draw(st.integers(1, 12))):
        trades = draw(st.integers(0, 3))
        prices = sorted(draw(st.lists(st.integers(1, 10**14), min_size=4, max_size=4)))
        low, one, other, high = (printed(price, price_places) for price in prices)
        columns = [one, high, low, other] if draw(st.booleans()) else [other, high, low, one]
        sizes = draw(st.lists(st.integers(0, 10**18), min_size=4, max_size=4))
        if not trades:
            columns, sizes = [close] * 4, [0] * 4
        volume, turnover, taker, taker_turnover = sizes
        rows.append([index * MINUTE, *columns, printed(volume, volume_places), index * MINUTE + MINUTE - 1,
                     printed(turnover, turnover_places), trades, printed(taker, volume_places),
                     printed(taker_turnover, turnover_places), "0"])  # fmt: skip
        close = columns[3]
    return rows


def plainly(rows: list[list[str | int]], close_time: int) -> list[str | int]:
    """The merge by decimals, one trade after the other."""
    live = [row for row in rows if row[8]] or rows[:1]
    prices = [live[0][1], live[0][2], live[0][3], live[-1][4]]
    for row in live:
        if Decimal(row[2]) > Decimal(prices[1]):
            prices[1] = row[2]
        if Decimal(row[3]) < Decimal(prices[2]):
            prices[2] = row[3]
    totals: dict[int, str] = {}
    for column in (5, 7, 9, 10):
        places = -int(Decimal(rows[0][column]).as_tuple().exponent)
        units = sum(int(Decimal(row[column]).scaleb(places)) for row in rows)
        text = str(units).rjust(places + 1, "0")
        totals[column] = text if not places else text[:-places] + "." + text[-places:]
    trades = sum(int(row[8]) for row in rows)
    return [rows[0][0], *prices, totals[5], close_time, totals[7], trades, totals[9], totals[10], "0"]


def text_of(row: list[str | int]) -> bytes:
    return json.dumps(row, separators=(",", ":")).encode()


@given(rows=parts())
def test_equal_to_plain_decimals(rows: list[list[str | int]]) -> None:
    close_time = 60 * MINUTE - 1
    known = any(row[8] for row in rows) or len({row[1] for row in rows}) == 1
    assert merge_rows([text_of(row) for row in rows], 0, close_time) == (
        text_of(plainly(rows, close_time)) if known else None
    )


@given(rows=parts(), cut=st.integers(1, 11))
def test_parts_may_be_merged_before(rows: list[list[str | int]], cut: int) -> None:
    first, rest = [text_of(row) for row in rows[:cut]], [text_of(row) for row in rows[cut:]]
    half = merge_rows(first, 0, int(rows[: cut or 1][-1][6]))
    assert half is not None
    assert merge_rows([half, *rest], 0, HOUR) == merge_rows(first + rest, 0, HOUR)


@pytest.fixture(scope="module")
def sim() -> Sim:
    return Sim()


@given(
    subject=st.sampled_from(
        [
            ("/api/v3/klines", "BTCUSDT"),
            ("/api/v3/klines", "QUIETUSDT"),
            ("/fapi/v1/klines", "BTCUSDT"),
            ("/dapi/v1/klines", "BTCUSD_PERP"),
        ]
    ),
    interval=st.sampled_from(["3m", "5m", "15m", "1h", "4h", "12h", "1d"]),
    at=st.integers(T0 + 30 * SECOND, T0 + 16 * HOUR),
)
def test_equal_to_the_exchanges_row_at_any_moment(sim: Sim, subject: tuple[str, str], interval: str, at: int) -> None:
    path, symbol = subject
    sim.now = at
    (row,) = sim.rows(f"symbol={symbol}&interval={interval}&limit=1", path)
    assert row[6] - row[0] + 1 == INTERVALS[interval].length_ms
    shorter = sim.parts(symbol, "1m", row[0], at + 1, path)
    assert merge_rows([text_of(part) for part in shorter], row[0], row[6]) == text_of(row)


def recorded(interval: str) -> dict[int, bytes]:
    rows: dict[int, bytes] = {}
    for file in (FIXTURES / "BTCUSDT" / interval).glob("*.json"):
        for row in json.loads(file.read_text()):
            rows[row[0]] = text_of(row)
    return rows


def test_equal_to_real_rows_but_where_binance_was_down() -> None:
    longer, shorter = recorded("4h"), recorded("2h")
    differing, compared = [], 0
    for open_ms, row in longer.items():
        parts = [shorter[each] for each in (open_ms, open_ms + 2 * HOUR) if each in shorter]
        if parts:
            compared += 1
            if merge_rows(parts, open_ms, open_ms + 4 * HOUR - 1) != row:
                differing.append(open_ms)
    assert compared == 41
    assert differing == [
        1_518_048_000_000,
        1_518_163_200_000,
    ]  # no rows from 2018-02-08 00:28 to 02-09 10:00
