"""How long one page holds the loop: reading, checking and merging 1,000 rows, with nothing else going on."""

import statistics
import time

from mdcache.candles.doubts import doubt
from mdcache.candles.series import Policy, ReadAt, Series
from mdcache.candles.window import Form, Window
from mdcache.exchange.markets import KLINE_PATHS
from mdcache.exchange.questions import SeriesKey
from mdcache.exchange.rows import Expected, read_page
from mdcache.sim import Exchange, SimConfig

PAGES = 200
MINUTE = 60_000
NOW = 1_790_771_371_858


def longest_step_ms() -> tuple[float, float]:
    """Median and longest milliseconds of the step between two awaits that takes in a page."""
    exchange = Exchange(SimConfig(spot_limit=10**9), now_ms=lambda: NOW)
    rule = KLINE_PATHS["/api/v3/klines"]
    key = SeriesKey(rule.market, rule.kind, "BTCUSDT", "", "1m")
    series = Series(key, rule, Policy(3_000, 60_000))
    took = []
    for page in range(PAGES):
        start = NOW - (page + 2) * 1000 * MINUTE
        window = Window(Form.FORWARD, start, None, 1000)
        body = exchange.truth(rule.path, f"symbol=BTCUSDT&interval=1m&startTime={start}&limit=1000", at_ms=NOW)
        began = time.perf_counter()
        rows = read_page(body, Expected(series.interval, start, NOW, 1000)).rows
        read = ReadAt(NOW + page, NOW + page)
        doubt(series, rows, window, read)
        series.merge(rows, window, read)
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took), max(took)
