"""Which rows exist: listing, halts, holes, cut closes, Mondays, months, phases."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from mdcache.sim import Outage, SimConfig, SymbolSpec
from mdcache.sim.prices.grid import zone_ms
from tests.sim.helpers import DAY, FILLED, GAP, HALTED, HOUR, LISTED, MINUTE, RECENT, SECOND, T0, Sim


def test_the_first_row_keeps_its_calendar_open(sim: Sim) -> None:
    firsts = {
        interval: sim.rows(f"symbol=BTCUSDT&interval={interval}&startTime=0&limit=1")[0][0]
        for interval in ("1s", "1m", "1h", "1d", "3d", "1w", "1M")
    }
    day = LISTED // DAY * DAY
    assert 0 <= firsts["1s"] - LISTED // SECOND * SECOND <= 5 * SECOND
    assert firsts["1m"] == LISTED // MINUTE * MINUTE
    assert firsts["1h"] == LISTED // HOUR * HOUR
    assert firsts["1d"] == firsts["3d"] == day
    assert datetime.fromtimestamp(firsts["1w"] / 1000, UTC).strftime("%F %T %A") == "2023-10-02 00:00:00 Monday"
    assert datetime.fromtimestamp(firsts["1M"] / 1000, UTC).strftime("%F %T") == "2023-10-01 00:00:00"


def test_before_the_listing_there_is_nothing(sim: Sim) -> None:
    assert sim.rows(f"symbol=BTCUSDT&interval=1h&endTime={LISTED - HOUR}") == []
    assert sim.rows(f"symbol=BTCUSDT&interval=1h&startTime=0&endTime={LISTED - HOUR}") == []


def test_a_3d_phase_counts_from_the_listing(sim: Sim) -> None:
    opens = [row[0] for row in sim.rows("symbol=BTCUSDT&interval=3d")]
    assert {open_ms // DAY % 3 for open_ms in opens} == {LISTED // DAY % 3}
    assert {b - a for a, b in pairwise(opens)} == {3 * DAY}


def test_months_close_a_millisecond_before_the_next(sim: Sim) -> None:
    rows = sim.rows("symbol=BTCUSDT&interval=1M")
    assert [datetime.fromtimestamp(row[0] / 1000, UTC).strftime("%F") for row in rows] == [
        "2023-10-01",
        "2023-11-01",
    ]
    assert rows[0][6] + 1 == rows[1][0]
    assert rows[1][6] + 1 == datetime(2023, 12, 1, tzinfo=UTC).timestamp() * 1000


def test_a_time_zone_moves_the_buckets_only(sim: Sim) -> None:
    row = sim.rows("symbol=BTCUSDT&interval=1d&timeZone=8&limit=1")[0]
    assert row[0] % DAY == 16 * HOUR
    assert sim.rows("symbol=BTCUSDT&interval=1d&timeZone=%2B08:00&limit=1") == [row]
    week = sim.rows("symbol=BTCUSDT&interval=1w&timeZone=-1:00&limit=1")[0]
    assert datetime.fromtimestamp(week[0] / 1000, UTC).strftime("%A %T") == "Monday 01:00:00"
    month = sim.rows("symbol=BTCUSDT&interval=1M&timeZone=8&limit=1")[0]
    assert datetime.fromtimestamp(month[0] / 1000, UTC).strftime("%F %T") == "2023-10-31 16:00:00"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("8", 8 * HOUR), ("-1:00", -HOUR), ("05:45", 345 * MINUTE), ("+14:00", 14 * HOUR),
     ("-12:00", -12 * HOUR),
     ("14:01", None), ("-12:30", None), ("5:60", None), ("5:4", None), ("UTC", None), (" 8", None), ("", None)],
)  # fmt: skip
def test_zones(text: str, expected: int | None) -> None:
    assert zone_ms(text) == expected


def test_a_hole_has_no_rows_and_the_last_before_it_is_cut(sim: Sim) -> None:
    start, end = GAP.start_ms - 5 * MINUTE, GAP.end_ms + 5 * MINUTE
    rows = sim.rows(f"symbol=BTCUSDT&interval=1m&startTime={start}&endTime={end}")
    cut, after = ((a, b) for a, b in pairwise(rows) if b[0] - a[0] > MINUTE).__next__()
    assert cut[0] == GAP.start_ms // MINUTE * MINUTE
    assert cut[6] == GAP.start_ms - 1
    assert after[0] == GAP.end_ms
    assert all(row[6] == row[0] + MINUTE - 1 for row in rows if row is not cut)


def test_a_bucket_that_outlives_the_outage_closes_regularly(sim: Sim) -> None:
    day = GAP.start_ms // DAY * DAY
    row = sim.rows(f"symbol=BTCUSDT&interval=1d&startTime={day}&limit=1")[0]
    assert row[6] == day + DAY - 1
    opens = [row[0] for row in sim.rows(f"symbol=BTCUSDT&interval=1h&startTime={day}&limit=24")][:14]
    assert opens == [day + hour * HOUR for hour in (*range(11), 12, 13, 14)]


def test_limits_count_rows_not_buckets(sim: Sim) -> None:
    rows = sim.rows(f"symbol=BTCUSDT&interval=1s&limit=10&endTime={GAP.end_ms + 4 * SECOND}")
    assert len(rows) == 10
    assert rows[-1][0] == GAP.end_ms + 4 * SECOND
    assert rows[4][0] == GAP.start_ms // SECOND * SECOND
    assert rows[4][6] == GAP.start_ms - 1
    onward = sim.rows(f"symbol=BTCUSDT&interval=1s&limit=10&startTime={rows[0][0]}")
    assert onward == rows


def test_while_an_outage_lasts_the_cut_row_is_the_newest(sim: Sim) -> None:
    sim.now = GAP.start_ms + 10 * MINUTE
    row = sim.rows("symbol=BTCUSDT&interval=1m&limit=1")[0]
    assert (row[0], row[6]) == (GAP.start_ms // MINUTE * MINUTE, GAP.start_ms - 1)
    sim.now = GAP.start_ms - 1
    assert sim.rows("symbol=BTCUSDT&interval=1m&limit=1")[0][6] % MINUTE == MINUTE - 1


def test_an_outage_can_be_filled_in_later(sim: Sim) -> None:
    query = f"symbol=BTCUSDT&interval=1m&startTime={FILLED.start_ms}&endTime={FILLED.end_ms - 1}"
    whole = f"symbol=BTCUSDT&interval=1h&limit=1&startTime={FILLED.start_ms // HOUR * HOUR}"
    assert FILLED.filled_ms is not None
    sim.now = FILLED.filled_ms - 1
    assert sim.rows(query) == []
    trades = sim.rows(whole)[0][8]
    sim.now += 1
    assert len(sim.rows(query)) == 30
    assert sim.rows(whole)[0][8] > trades
    sim.now -= 1
    assert sim.rows(query) == []


def test_a_halted_symbol_ends_and_a_delisted_one_is_unknown(sim: Sim) -> None:
    assert HALTED.halted_ms is not None
    row = sim.rows("symbol=OLDUSDT&interval=1m&limit=1")[0]
    assert row[0] == HALTED.halted_ms // MINUTE * MINUTE
    assert sim.rows(f"symbol=OLDUSDT&interval=1m&startTime={row[0] + 1}") == []
    assert sim.error("/api/v3/klines", "symbol=GONEUSDT&interval=1m") == (400, -1121, "Invalid symbol.")


def test_a_symbol_announced_but_not_listed_has_no_rows(sim: Sim) -> None:
    sim.now = RECENT.listed_ms - 1
    assert sim.rows("symbol=NEWUSDT&interval=1M") == []
    sim.now = RECENT.listed_ms + 5 * MINUTE
    assert 4 <= len(sim.rows("symbol=NEWUSDT&interval=1m")) <= 6


def test_a_symbol_that_never_trades_has_no_rows() -> None:
    silent = SymbolSpec("spot", "SILENTUSDT", LISTED, trades_per_day=0)
    sim = Sim(config=SimConfig(symbols=(silent,)))
    assert sim.rows("symbol=SILENTUSDT&interval=1d") == []


def test_few_trades_a_week() -> None:
    rare = SymbolSpec("spot", "RAREUSDT", LISTED, trades_per_day=1)
    rows = Sim(config=SimConfig(symbols=(rare,))).rows("symbol=RAREUSDT&interval=1h&limit=1000")
    assert rows[0][8] == 1
    assert {row[8] for row in rows} == {0, 1}
    for before, row in pairwise(rows):
        assert row[8] or row[1:5] == [before[4]] * 4


def test_an_outage_may_swallow_the_first_trades() -> None:
    rare = SymbolSpec("spot", "RAREUSDT", LISTED, trades_per_day=20, outages=(Outage(LISTED, LISTED + DAY),))
    at_ms = LISTED + DAY + 5 * SECOND
    row = Sim(now=at_ms, config=SimConfig(symbols=(rare,))).rows("symbol=RAREUSDT&interval=1s&limit=1")[0]
    assert (row[0], row[8]) == (at_ms // SECOND * SECOND, 0)
    assert float(row[1]) > 0


def test_statuses_follow_time() -> None:
    halts = SymbolSpec("usdm", "X", T0, halted_ms=T0 + 5, announced_ms=T0 - 5, delisted_ms=T0 + 9)
    shown = [halts.status_at(T0 + after) for after in (-1, 0, 4, 5)]
    assert shown == ["PENDING_TRADING", "TRADING", "TRADING", "SETTLING"]
    assert [halts.visible(T0 + after) for after in (-6, -5, 8, 9)] == [False, True, True, False]
    spot = replace(halts, market="spot")
    assert [spot.status_at(T0 + after) for after in (-1, 0, 5)] == ["BREAK", "TRADING", "BREAK"]
    assert replace(spot, status="HALT").status_at(T0 + 5) == "HALT"


def test_unprintable_decimals_are_refused() -> None:
    with pytest.raises(ValueError, match="decimals together"):
        SymbolSpec("spot", "X", 0, price_decimals=5, quantity_decimals=4)
    with pytest.raises(ValueError, match="fewer decimals"):
        SymbolSpec("usdm", "X", 0, price_decimals=3, printed_decimals=2)


def test_a_row_appears_with_its_bucket(sim: Sim) -> None:
    sim.now = T0 + HOUR
    assert sim.rows("symbol=BTCUSDT&interval=1h&limit=1")[0][0] == sim.now
    sim.now -= 1
    assert sim.rows("symbol=BTCUSDT&interval=1h&limit=1")[0][0] == T0


def test_the_default_world_is_big_enough_and_prints() -> None:
    sim = Sim(now=1_793_600_000_000, config=SimConfig())

    def listed(path: str, **status: str) -> list[str]:
        symbols = json.loads(sim.get(path, client="lists").body)["symbols"]
        return [one["symbol"] for one in symbols if status.items() <= one.items()]

    spot = listed("/api/v3/exchangeInfo")
    assert len(spot) >= 24
    assert {name for name in spot if not sim.rows(f"symbol={name}&interval=1h&limit=3")} == {"SOONUSDT"}
    assert "BTTUSDT" not in spot
    for prefix, status in (("/fapi/v1/", "status"), ("/dapi/v1/", "contractStatus")):
        names = listed(prefix + "exchangeInfo", **{status: "TRADING"})
        assert any("_261225" in name for name in names)
        for name in names:
            assert sim.rows(f"symbol={name}&interval=1m&limit=3", prefix + "klines")


def test_the_default_world_has_binance_s_calendar() -> None:
    sim = Sim(now=1_793_600_000_000, config=SimConfig())
    names = ("BTC", "ETH", "BNB", "ADA", "SOL", "DOT")
    phases = [sim.rows(f"symbol={name}USDT&interval=3d&limit=1")[0][0] // DAY % 3 for name in names]
    assert phases == [1, 1, 1, 1, 2, 0]  # docs/binance.md#three-day-phase
    first = sim.rows("symbol=BTCUSDT&interval=1w&startTime=0&limit=1")[0][0]
    assert first == 1_502_668_800_000  # 2017-08-14
    cut = sim.rows("symbol=BTCUSDT&interval=2h&startTime=1518048000000&limit=2")
    assert (cut[0][6], cut[1][0]) == (1_518_049_694_788, 1_518_170_400_000)
    empty = sim.rows("symbol=BTCUSDT&interval=1m&startTime=1504713600000&limit=1")[0]
    assert (empty[0], empty[6]) == (1_504_713_600_000, 1_504_713_600_000)
