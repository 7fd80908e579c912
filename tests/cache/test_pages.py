"""Pages of a history, asked together or one by one, weigh hardly more than Binance would have charged for them."""

import asyncio

import msgspec
import pytest

from mdcache.cache.kline_answers import KlineAnswer
from tests.support.examples import thinned
from tests.support.virtual_daemon import VirtualDaemon

pytestmark = pytest.mark.virtual

MINUTE = 60_000
DIRECTLY = ((99, 1), (499, 2), (1_000, 5), (1_500, 10))  # docs/binance.md#kline-weights
SPOT, USDM, COINM = "/api/v3/klines", "/fapi/v1/klines", "/dapi/v1/klines"
PAGES = 20
CASES = [
    (path, direction, rows)
    for path, direction in (
        (SPOT, "forward"),
        (SPOT, "backward"),
        (USDM, "forward"),
        (USDM, "backward"),
        (USDM, "bounded"),
        (COINM, "backward"),
        (COINM, "bounded"),
    )
    for rows in (50, 499, 1_000, 1_500)
    if path != SPOT or rows <= 1_000  # spot's longest page
]
FIRST_CALLS = 6  # the tail, and what a page lacks at its ends


def page_queries(path: str, rows: int, direction: str, newest_ms: int) -> list[str]:
    """Return the questions for consecutive pages, which overlap by a row, as clients ask them."""
    series = f"symbol={'ETHUSD_PERP' if path == COINM else 'ETHUSDT'}&interval=1m&limit={rows}"
    step = (rows - 1) * MINUTE
    starts = [newest_ms - newest_ms % MINUTE - (n + 1) * step for n in range(PAGES)]
    bounds = {
        "forward": "&startTime={0}",
        "backward": "&endTime={1}",
        "bounded": "&startTime={0}&endTime={1}",
    }[direction]
    found = [series + bounds.format(start, start + step) for start in starts]
    return found if direction == "backward" else found[::-1]


def weight(path: str, rows: int) -> int:
    return 2 if path == SPOT else next(weight for top, weight in DIRECTLY if rows <= top)


@pytest.mark.parametrize(("path", "direction", "rows"), thinned(CASES, 3))
@pytest.mark.parametrize("together", [True, False])
async def test_pages_weigh_no_more_than_directly(path: str, direction: str, rows: int, *, together: bool) -> None:
    w = VirtualDaemon()
    queries = page_queries(path, rows, direction, w.clock.true_ms() - 3 * MINUTE)
    if together:
        answers: list[KlineAnswer] = await asyncio.gather(*(w.ask(path, query) for query in queries))
    else:
        answers = [await w.ask(path, query) for query in queries]
    assert all(len(msgspec.json.decode(answer.body)) == rows for answer in answers)
    spent = sum(entry.weight for entry in w.exchange.log if entry.path == path)
    directly = PAGES * weight(path, rows)
    assert spent <= directly * 1.1 + FIRST_CALLS, w.calls()
    await w.aclose()
