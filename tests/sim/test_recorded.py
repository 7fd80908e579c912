"""Recorded rows are served verbatim, by a real clock, and only for the series that have files."""

import json
from pathlib import Path

import pytest

from mdcache.sim import SimConfig
from tests.sim.helpers import WORLD, Sim

# BTCUSDT 1d, Binance /api/v3/klines, by way of github.com/finom/static-klines
ROWS = [
    (
        '[1502928000000,"4261.48000000","4485.39000000","4200.74000000","4285.08000000","795.15037700",1503014399999,'
        '"3454770.05073206",3427,"616.24854100","2678216.40060401","0"]'
    ),
    (
        '[1503014400000,"4285.08000000","4371.52000000","3938.77000000","4108.37000000","1199.88826400",1503100799999,'
        '"5086958.30617151",5233,"972.86871000","4129123.31651808","0"]'
    ),
    (
        '[1503100800000,"4108.37000000","4184.69000000","3850.00000000","4139.98000000","381.30976300",1503187199999,'
        '"1549483.73542151",2153,"274.33604200","1118001.87008735","0"]'
    ),
]
QUERY = "symbol=BTCUSDT&interval=1d"


@pytest.fixture
def sim(tmp_path: Path) -> Sim:
    for name, rows in (("2017-01-01", ROWS[:2]), ("2018-01-01", ROWS[1:])):
        folder = tmp_path / "BTCUSDT" / "1d"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text("[\n  " + ",\n  ".join(rows) + "\n]")
    lonely = tmp_path / "LONELYUSDT" / "1w"
    lonely.mkdir(parents=True)
    (lonely / "2017-01-01.json").write_text(f"[{ROWS[0]}]")
    (tmp_path / "BTCUSDT" / "notes").mkdir()
    return Sim(config=SimConfig(symbols=WORLD, rows_dir=tmp_path))


def test_rows_are_verbatim_and_met_once(sim: Sim) -> None:
    assert sim.get("/api/v3/klines", QUERY).body.decode() == "[" + ",".join(ROWS) + "]"
    assert sim.get("/api/v3/uiKlines", QUERY + "&timeZone=0").body.decode() == "[" + ",".join(ROWS) + "]"


def test_windows_on_recorded_rows(sim: Sim) -> None:
    def opens(more: str) -> list[int]:
        return [row[0] for row in sim.rows(QUERY + more)]

    assert opens("&startTime=1502928000001") == [1503014400000, 1503100800000]
    assert opens("&startTime=0&limit=1") == [1502928000000]
    assert opens("&limit=1") == [1503100800000]
    assert opens("&endTime=1503014400000&limit=1") == [1503014400000]
    assert opens("&startTime=1503014400000&endTime=1503014400000") == [1503014400000]
    assert opens("&startTime=2&endTime=1") == []


def test_recorded_rows_in_microseconds(sim: Sim) -> None:
    row = json.loads(sim.get("/api/v3/klines", QUERY, x_mbx_time_unit="MICROSECOND").body)[0]
    assert (row[0], row[6]) == (1502928000000000, 1503014399999999)


def test_rows_are_not_shown_before_they_open(sim: Sim) -> None:
    for at_ms, count in ((1503014400000, 2), (1503014399999, 1), (1502928000000, 1)):
        assert len(json.loads(sim.exchange.truth("/api/v3/klines", QUERY, at_ms=at_ms))) == count
    unknown = sim.exchange.truth("/api/v3/klines", QUERY, at_ms=1502928000000 - 1)
    assert json.loads(unknown)["code"] == -1121


def test_other_series_are_computed(sim: Sim) -> None:
    plain = Sim()
    for query in ("symbol=BTCUSDT&interval=1h", QUERY + "&timeZone=8", "symbol=QUIETUSDT&interval=1d"):
        assert sim.rows(query) == plain.rows(query)
    assert sim.rows(QUERY, "/fapi/v1/klines") == plain.rows(QUERY, "/fapi/v1/klines")


def test_symbols_only_recorded_are_listed(sim: Sim) -> None:
    info = json.loads(sim.get("/api/v3/exchangeInfo", "symbol=LONELYUSDT").body)["symbols"][0]
    assert (info["status"], info["baseAsset"], info["quoteAsset"]) == ("TRADING", "LONELY", "USDT")
