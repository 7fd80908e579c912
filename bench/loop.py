"""How long one page holds the loop: reading, checking and merging 1,000 rows, with nothing else going on."""

import gc
import statistics
import time

from mdcache.candles.merge import merge
from mdcache.candles.plausibility import find_suspicion
from mdcache.candles.series import Series
from mdcache.candles.settling import ReadTime, SettlePolicy
from mdcache.candles.window import Window, WindowKind
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import KLINE_ENDPOINTS
from mdcache.exchange.rows import ExpectedRows, read_page
from mdcache.sim import Exchange, SimConfig

PAGES = 200
MINUTE = 60_000
NOW = 1_790_771_371_858


def longest_step_ms() -> tuple[float, float]:
    """Median and longest milliseconds of the step between two awaits that takes in a page."""
    exchange = Exchange(SimConfig(spot_limit=10**9), now_ms=lambda: NOW)
    rule = KLINE_ENDPOINTS["/api/v3/klines"]
    key = SeriesKey(rule.market, rule.kind, "BTCUSDT", "", "1m")
    series = Series(key, rule, SettlePolicy(3_000, 60_000))
    starts = [NOW - (page + 2) * 1000 * MINUTE for page in range(PAGES)]
    query = "symbol=BTCUSDT&interval=1m&limit=1000&startTime="
    bodies = [exchange.truth(rule.path, f"{query}{start}", at_ms=NOW) for start in starts]
    del exchange
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 4, 500)  # as the daemon sets it
    took = []
    for page, (start, body) in enumerate(zip(starts, bodies, strict=True)):
        window, read = Window(WindowKind.FORWARD, start, None, 1000), ReadTime(NOW + page, NOW + page)
        began = time.perf_counter()
        rows = read_page(body, ExpectedRows(series.interval, start, NOW, 1000)).rows
        find_suspicion(series, rows, window, read)
        merge(series, rows, window, read)
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took), max(took)
