"""Every candle is exactly the merge of its parts, at any moment, in any time zone, in every market."""

import itertools
import json
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sim.helpers import DAY, GAP, HOUR, LISTED, MINUTE, SECOND, T0, Sim, content, merged

MOMENTS = st.integers(T0 - 3 * DAY, T0 + 7 * HOUR)
INTERVALS = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M")
FINE = Decimal("0.001")
ZONES = ("0", "8", "-3:30", "+05:45", "14:00", "-12:00")


@pytest.fixture(scope="module")
def sim() -> Sim:
    return Sim()


@given(at=MOMENTS, symbol=st.sampled_from(("BTCUSDT", "QUIETUSDT")), seconds=st.integers(0, 400))
def test_a_minute_is_the_merge_of_its_seconds(sim: Sim, at: int, symbol: str, seconds: int) -> None:
    sim.now = at
    for row in sim.rows(f"symbol={symbol}&interval=1m&limit=2&endTime={at - seconds * SECOND}"):
        assert content(row) == merged(sim.parts(symbol, "1s", row[0], row[0] + MINUTE))


@pytest.mark.exhaustive
@given(
    at=MOMENTS,
    symbol=st.sampled_from(("BTCUSDT", "QUIETUSDT")),
    interval=st.sampled_from(INTERVALS[1:]),
    zone=st.sampled_from(ZONES),
)
@pytest.mark.untraced
def test_longer_candles_are_the_merge_of_minutes(sim: Sim, at: int, symbol: str, interval: str, zone: str) -> None:
    sim.now = at
    zone_query = f"&timeZone={zone.replace('+', '%2B')}"
    rows = sim.rows(f"symbol={symbol}&interval={interval}&limit=2{zone_query}")
    for row, end in zip(rows, [*(row[0] for row in rows[1:]), at + 1], strict=True):
        finer = "1m" if end - row[0] <= 2 * DAY else "1h" if zone in {"0", "8", "14:00", "-12:00"} else "15m"
        assert content(row) == merged(sim.parts(symbol, finer, row[0], end))


@pytest.mark.parametrize("interval", INTERVALS)
def test_futures_candles_are_the_merge_of_minutes(sim: Sim, interval: str) -> None:
    sim.now = T0 + 7 * HOUR + 12_345
    for path, name in (
        ("/fapi/v1/klines", "BTCUSDT"),
        ("/dapi/v1/klines", "BTCUSD_PERP"),
        ("/fapi/v1/markPriceKlines", "BTCUSDT"),
        ("/dapi/v1/premiumIndexKlines", "BTCUSD_PERP"),
    ):
        row = sim.rows(f"symbol={name}&interval={interval}&limit=1", path)[0]
        finer = "1m" if interval in INTERVALS[:11] else "1h"
        assert content(row) == merged(sim.parts(name, finer, row[0], sim.now + 1, path))


@given(start=MOMENTS, steps=st.lists(st.integers(1, 3_000), min_size=2, max_size=12))
def test_rows_only_grow(sim: Sim, start: int, steps: list[int]) -> None:
    for interval in ("1s", "1m", "1h", "1w"):
        seen: dict[int, list[str | int]] = {}
        sim.now = start
        for step in steps:
            sim.now += step
            for row in sim.rows(f"symbol=BTCUSDT&interval={interval}&limit=5"):
                old = seen.get(row[0])
                if old is not None:
                    assert row[8] >= old[8]
                    assert Decimal(row[5]) >= Decimal(old[5])
                    if old[8]:  # until then its prices are the previous close
                        assert Decimal(row[2]) >= Decimal(old[2])
                        assert Decimal(row[3]) <= Decimal(old[3])
                        assert row[1] == old[1]
                seen[row[0]] = row


def test_the_open_candle_ticks_within_a_second(sim: Sim) -> None:
    closes = []
    for tick in range(40):
        sim.now = T0 + HOUR + tick * 250
        closes.append(json.dumps(sim.rows("symbol=BTCUSDT&interval=1h&limit=1")))
    assert len(set(closes)) > 20


@given(at=MOMENTS, symbol=st.sampled_from(("BTCUSDT", "QUIETUSDT")), interval=st.sampled_from(("1s", *INTERVALS)))
def test_rows_are_plausible(sim: Sim, at: int, symbol: str, interval: str) -> None:
    sim.now = at
    rows = sim.rows(f"symbol={symbol}&interval={interval}&limit=50")
    for row in rows:
        open_, high, low, close, volume = map(Decimal, row[1:6])
        assert 0 < low <= min(open_, close) <= max(open_, close) <= high
        assert 0 <= Decimal(row[9]) <= volume
        assert 0 <= Decimal(row[10]) <= Decimal(row[7])
        assert (volume == 0) == (row[8] == 0)
        if row[8] and symbol == "BTCUSDT":
            assert low * (1 - FINE) <= Decimal(row[7]) / volume <= high * (1 + FINE)
        assert len({*row[1:5]}) <= max(1, row[8])
        assert row[6] >= row[0]
        assert row[11] == "0"
        assert all(len(text.split(".")[1]) == 8 for text in (*row[1:6], row[7], row[9], row[10]))
    assert [row[0] for row in rows] == sorted({row[0] for row in rows})


def test_without_trades_a_row_repeats_the_previous_close(sim: Sim) -> None:
    sim.now = T0 + 7 * HOUR
    rows = sim.rows("symbol=QUIETUSDT&interval=1m&limit=1000")
    assert any(row[8] == 0 for row in rows)
    assert any(row[8] for row in rows)
    for before, row in itertools.pairwise(rows):
        if row[8] == 0:
            assert row[1:6] == [before[4]] * 4 + ["0.00000000"]
            assert (row[7], row[9], row[10]) == ("0.00000000",) * 3


def test_the_same_seed_prints_the_same_and_another_does_not() -> None:
    query = "symbol=BTCUSDT&interval=1m&limit=100"
    one = Sim()
    again = Sim(config=replace(one.config, cached_rows=1_000))  # other caches: nothing that was computed is shared
    other = Sim(config=type(one.config)(symbols=one.config.symbols, seed=2))
    again.rows("symbol=BTCUSDT&interval=1M")  # another path to the same numbers
    assert one.get("/api/v3/klines", query).body == again.get("/api/v3/klines", query).body
    assert one.get("/api/v3/klines", query).body != other.get("/api/v3/klines", query).body


def test_small_caches_change_nothing() -> None:
    wide = Sim()
    narrow = Sim(config=type(wide.config)(symbols=wide.config.symbols, cached_rows=10, cached_splits=5))
    for interval in ("1s", "1m", "1h", "1d"):
        for _ in range(2):
            query = f"symbol=BTCUSDT&interval={interval}&limit=60"
            assert wide.rows(query) == narrow.rows(query)


def test_markets_print_their_own_decimals(sim: Sim) -> None:
    sim.now = T0 + 7 * HOUR
    usdm = sim.rows("symbol=BTCUSDT&interval=1h&limit=1", "/fapi/v1/klines")[0]
    assert [len(text.split(".")[1]) for text in (*usdm[1:6], usdm[7])] == [2, 2, 2, 2, 3, 5]
    coinm = sim.rows("symbol=BTCUSD_PERP&interval=1h&limit=1", "/dapi/v1/klines")[0]
    assert coinm[5].isdigit()
    assert coinm[9].isdigit()
    assert len(coinm[7].split(".")[1]) == 8
    assert abs(Decimal(coinm[5]) * 100 / Decimal(coinm[7]) / Decimal(coinm[4]) - 1) < Decimal("0.2")
    index = sim.rows("pair=BTCUSD&interval=1m&limit=2", "/dapi/v1/indexPriceKlines")[0]
    assert (index[5], index[7], index[8], index[9], index[10]) == ("0", "0", 60, "0", "0")
    premium = sim.rows("symbol=BTCUSDT&interval=1m&limit=1500", "/fapi/v1/premiumIndexKlines")
    assert premium[0][8] == 12
    assert any(row[4].startswith("-0.000") for row in premium)
    assert all(Decimal(row[3]) <= Decimal(row[1]) <= Decimal(row[2]) for row in premium)


def test_bodies_are_compact_json(sim: Sim) -> None:
    body = sim.get("/api/v3/klines", "symbol=BTCUSDT&interval=1h&limit=3").body
    assert body == json.dumps(json.loads(body), separators=(",", ":")).encode()


def test_merging_across_listing_and_gap(sim: Sim) -> None:
    sim.now = T0
    for open_ms in (LISTED // DAY * DAY, GAP.start_ms // DAY * DAY):
        row = sim.rows(f"symbol=BTCUSDT&interval=1d&limit=1&startTime={open_ms}")[0]
        assert row[0] == open_ms
        assert content(row) == merged(sim.parts("BTCUSDT", "1m", open_ms, open_ms + DAY))
