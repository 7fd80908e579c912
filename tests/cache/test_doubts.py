"""Replies that show less than they should, through the whole data path (docs/design.md#tail-replacement)."""

import pytest

from mdcache.errors import InvalidBody
from mdcache.sim import SimConfig
from tests.support.edited_rows import Edit, PageRequest, PrintedRows, edit_rows
from tests.support.virtual_daemon import VirtualDaemon, ready

pytestmark = pytest.mark.virtual

PLENTY = SimConfig(spot_limit=1_000_000, futures_limit=1_000_000)
MARKETS = [("/api/v3/klines", "BTCUSDT"), ("/fapi/v1/klines", "BTCUSDT"), ("/dapi/v1/klines", "BTCUSD_PERP")]
HOUR = 3_600_000
LONG_AGO = 400 * 24 * HOUR
OTHER = {"/api/v3/klines": "ETHUSDT", "/fapi/v1/klines": "ETHUSDT", "/dapi/v1/klines": "ETHUSD_PERP"}


def aged(page: PageRequest, rows: PrintedRows) -> PrintedRows:
    """Answer the newest rows with those of 400 days ago."""
    return [[row[0] - LONG_AGO, *row[1:6], row[6] - LONG_AGO, *row[7:]] for row in rows] if page.newest else rows


def emptied(page: PageRequest, rows: PrintedRows) -> PrintedRows:
    """Answer the newest rows with none."""
    return [] if page.newest else rows


def queries(symbol: str, now_ms: int) -> list[str]:
    """A bounded question near now, and one by limit alone."""
    return [
        f"symbol={symbol}&interval=1h&startTime={now_ms - 10 * HOUR}&endTime={now_ms - HOUR}",
        f"symbol={symbol}&interval=1h&startTime={now_ms - 5 * HOUR}",
        f"symbol={symbol}&interval=1h&limit=5",
    ]


@pytest.mark.parametrize(("path", "symbol"), MARKETS)
@pytest.mark.parametrize("edit", [aged, emptied])
@pytest.mark.parametrize("form", range(3))
async def test_one_page_that_ends_long_ago_is_not_believed(path: str, symbol: str, edit: Edit, form: int) -> None:
    w = VirtualDaemon(PLENTY)
    edited = edit_rows(w)
    await ready(w, OTHER[path], path)
    times = 0

    def once(page: PageRequest, rows: PrintedRows) -> PrintedRows:
        nonlocal times
        times += page.newest
        return edit(page, rows) if times == 1 else rows

    edited.edit = once
    query = queries(symbol, w.clock.true_ms())[form]
    before = len(edited.pages)
    answer = await w.ask(path, query)
    assert answer.body == w.exchange.truth(path, query, at_ms=answer.as_of_ms)
    assert answer.rows > 1
    assert len(edited.pages) - before <= 3
    await w.aclose()


def silenced(page: PageRequest, rows: PrintedRows) -> PrintedRows:
    """Answer a window with its first rows only."""
    return rows if page.newest else rows[:5]


def unanswered(page: PageRequest, rows: PrintedRows) -> PrintedRows:
    """Answer a window with no rows."""
    return rows if page.newest else []


@pytest.mark.parametrize("edit", [silenced, unanswered])
@pytest.mark.parametrize("interval", ["1h", "1d"])
@pytest.mark.parametrize("bounds", ["startTime={0}&endTime={1}", "endTime={1}", "startTime={0}&endTime={1}&limit=5"])
async def test_one_window_of_coinm_without_rows_at_its_end_is_not_believed(
    edit: Edit, interval: str, bounds: str
) -> None:
    w = VirtualDaemon(PLENTY)
    edited = edit_rows(w)
    path, now_ms = "/dapi/v1/klines", w.clock.true_ms()
    await ready(w, OTHER[path], path)
    windows = 0

    def once(page: PageRequest, rows: PrintedRows) -> PrintedRows:
        nonlocal windows
        windows += not page.newest
        return edit(page, rows) if windows == 1 else rows

    edited.edit = once
    query = f"symbol=BTCUSD_PERP&interval={interval}&" + bounds.format(now_ms - 1440 * HOUR, now_ms - 960 * HOUR)
    for _ in range(2):
        answer = await w.ask(path, query)
        assert answer.body == w.exchange.truth(path, query, at_ms=answer.as_of_ms)
        await w.clock.sleep(60)
    await w.aclose()


@pytest.mark.parametrize(("path", "symbol"), MARKETS)
@pytest.mark.parametrize("edit", [aged, emptied])
async def test_nothing_is_answered_from_a_page_that_is_always_old(path: str, symbol: str, edit: Edit) -> None:
    w = VirtualDaemon(PLENTY)
    edited = edit_rows(w)
    await ready(w, OTHER[path], path)
    edited.edit = edit
    for query in queries(symbol, w.clock.true_ms()):
        before = len(edited.pages)
        with pytest.raises(InvalidBody, match="lagging"):
            await w.ask(path, query)
        assert len(edited.pages) - before <= 3
    await w.aclose()


@pytest.mark.parametrize("interval", ["1m", "1h", "1d"])
async def test_what_has_really_ended_is_doubted_once(interval: str) -> None:
    w = VirtualDaemon(PLENTY)
    edited = edit_rows(w)
    await ready(w)
    query = f"symbol=BCCUSDT&interval={interval}&limit=5"
    costs = []
    for _ in range(3):
        before = len(edited.pages)
        answer = await w.ask("/api/v3/klines", query)
        assert answer.body == w.exchange.truth("/api/v3/klines", query, at_ms=answer.as_of_ms)
        assert answer.rows == 5
        costs.append(len(edited.pages) - before)
        await w.clock.sleep(100_000)
    assert costs == [2, 1, 1]
    await w.aclose()
