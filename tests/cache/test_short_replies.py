"""Pages that hold fewer rows than their window allows: a cap lowered without notice (docs/design.md#windows)."""

from itertools import product

import pytest

from mdcache.sim import SimConfig
from tests.support.edited_rows import Edit, EditedRows, PageRequest, PrintedRows, edit_rows
from tests.support.examples import thinned
from tests.support.virtual_daemon import VirtualDaemon, ready

pytestmark = pytest.mark.virtual

PLENTY = SimConfig(spot_limit=1_000_000, futures_limit=1_000_000)
MARKETS = [
    ("/api/v3/klines", "BTCUSDT", "ETHUSDT"),
    ("/fapi/v1/klines", "BTCUSDT", "ETHUSDT"),
    ("/dapi/v1/klines", "BTCUSD_PERP", "ETHUSD_PERP"),
    ("/dapi/v1/premiumIndexKlines", "BTCUSD_PERP", "ETHUSD_PERP"),
]
HOUR = 3_600_000
FORMS = [
    "limit=500",
    "limit=500&startTime={now-400}",
    "limit=500&startTime={now-900}&endTime={now-450}",
    "limit=500&startTime={now-3000}&endTime={now-2700}",
    "limit=300&startTime={now-3000}",
    "limit=300&endTime={now-2000}",
]


def capped(cap: int, *, newest_of_window: bool) -> Edit:
    def cut(page: PageRequest, rows: PrintedRows) -> PrintedRows:
        return rows[-cap:] if page.start_ms is None or newest_of_window else rows[:cap]

    return cut


async def capped_daemon(cap: int, path: str, other: str) -> tuple[VirtualDaemon, EditedRows]:
    w = VirtualDaemon(PLENTY)
    edited = edit_rows(w)
    await ready(w, other, path)
    nearest_end = path.startswith("/dapi") and "premium" not in path
    edited.edit = capped(cap, newest_of_window=nearest_end)
    return w, edited


def query(form: str, symbol: str, now_ms: int) -> str:
    for hours in (400, 450, 900, 2_000, 2_700, 3_000):
        form = form.replace(f"{{now-{hours}}}", str(now_ms - hours * HOUR))
    return f"symbol={symbol}&interval=1h&{form}"


@pytest.mark.parametrize(("of", "cap", "form"), thinned(product(MARKETS, [50, 200], FORMS), 5))
async def test_a_lowered_cap_costs_calls_and_no_rows(of: tuple[str, str, str], cap: int, form: str) -> None:
    path, symbol, other = of
    w, edited = await capped_daemon(cap, path, other)
    asked = query(form, symbol, w.clock.true_ms())
    before = len(edited.pages)
    answer = await w.ask(path, asked)
    assert answer.body == w.exchange.truth(path, asked, at_ms=answer.as_of_ms)
    assert len(edited.pages) - before <= answer.rows // cap + 5
    for _ in range(3):
        await w.clock.sleep(2.5)
        before = len(edited.pages)
        answer = await w.ask(path, asked)
        assert answer.body == w.exchange.truth(path, asked, at_ms=answer.as_of_ms)
        assert len(edited.pages) - before <= 1
    await w.aclose()


@pytest.mark.parametrize(("path", "symbol", "other"), MARKETS)
async def test_a_cap_lowered_between_two_polls(path: str, symbol: str, other: str) -> None:
    w, edited = await capped_daemon(1_500, path, other)
    asked = query("limit=1000", symbol, w.clock.true_ms())
    await w.ask(path, asked)
    edited.edit = capped(20, newest_of_window="premium" not in path and "dapi" in path)
    costs = []
    for _ in range(4):
        await w.clock.sleep(2.5)
        before = len(edited.pages)
        answer = await w.ask(path, asked)
        assert answer.body == w.exchange.truth(path, asked, at_ms=answer.as_of_ms)
        costs.append(len(edited.pages) - before)
    assert costs[0] <= 2
    assert costs[1:] == [1, 1, 1]
    await w.aclose()
