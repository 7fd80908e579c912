"""Real rows, with their outages, cut closes and phases: paged as python-binance does, equal to the files, then free."""

import json
from pathlib import Path

import pytest

from mdcache.exchange.intervals import INTERVALS
from mdcache.sim import SimConfig
from tests.support.virtual_daemon import VirtualDaemon, rows
from tests.support.virtual_time import run

SPOT = "/api/v3/klines"
ROWS = Path(__file__).parent.parent / "fixtures" / "rows"
SERIES = sorted(str(path.relative_to(ROWS)) for path in ROWS.glob("*/*") if path.is_dir())


async def paged(w: VirtualDaemon, symbol: str, interval: str, last_ms: int, page: int) -> list[list[object]]:
    head = f"symbol={symbol}&interval={interval}"
    probe = await w.ask(SPOT, f"{head}&startTime=0&limit=1&endTime={last_ms}")
    start, found = int(str(rows(probe)[0][0])), []
    while True:
        got = rows(await w.ask(SPOT, f"{head}&limit={page}&startTime={start}&endTime={last_ms}"))
        found += got
        if len(got) < page:
            return found
        start = int(str(got[-1][0])) + INTERVALS[interval].length_ms


@pytest.mark.parametrize("series", SERIES)
@pytest.mark.parametrize("page", [37, 1000])
def test_history_equals_the_files_and_costs_nothing_again(series: str, page: int) -> None:
    symbol, interval = series.split("/")
    recorded = [row for file in sorted((ROWS / series).glob("*.json")) for row in json.loads(file.read_text())]

    async def main() -> None:
        w = VirtualDaemon(SimConfig(rows_dir=ROWS, spot_limit=100_000))
        last_ms = recorded[-1][0]
        assert await paged(w, symbol, interval, last_ms, page) == recorded
        before = len(w.calls())
        assert await paged(w, symbol, interval, last_ms, page) == recorded
        assert await paged(w, symbol, interval, last_ms, page + 1) == recorded
        assert len(w.calls()) == before

    run(main())
    assert len(SERIES) == 7
