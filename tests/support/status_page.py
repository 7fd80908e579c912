"""A busy daemon over fakes, and its status page in a browser."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import uvicorn

from mdcache.cache.stream_status import StreamsStatus
from mdcache.candles.merge import merge
from mdcache.candles.series import Series
from mdcache.candles.settling import ReadTime
from mdcache.candles.window import tail_window
from mdcache.errors import BodyFault
from mdcache.events import BodyRejected, GateChanged, ReadReason, UpstreamCalled
from mdcache.exchange.intervals import INTERVALS
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import KLINE_ENDPOINTS
from mdcache.exchange.measured import ProfileNote
from mdcache.exchange.rows import ExpectedRows, read_page
from mdcache.results import Quantiles, RecentAnswers
from mdcache.serving.listener_status import ListenersStatus
from mdcache.serving.ops.status import ProfileStatus
from tests.support.asgi_client import KLINES
from tests.support.browser import Browser
from tests.support.serving_fakes import NOW_MS
from tests.support.serving_harness import BODY, ServingHarness

HOSTILE = '<img src=x onerror="document.title=1">'
RULE = KLINE_ENDPOINTS[KLINES]


ROWS = read_page(BODY, ExpectedRows(INTERVALS["1m"], 0, NOW_MS, 500)).rows


@contextlib.contextmanager
def served(house: ServingHarness) -> Iterator[str]:
    """The house's application on a port, by a thread of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(house.app, lifespan="off", log_level="error", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def fill(house: ServingHarness, number: int) -> None:
    """`number` series of a row each, as old as they are many seconds from the last."""
    intervals = ["1m", "1h", "4h", "1d", "1M"]
    for place in range(number):
        add(house, f"C{place // 5:04}USDT", intervals[place % 5], age_ms=1_000 * (number - place))


def add(house: ServingHarness, symbol: str, interval: str = "1m", age_ms: int = 500) -> Series:
    made = Series(SeriesKey(RULE.market, RULE.kind, symbol, "", interval), RULE, house.series.policy)
    merge(made, ROWS, tail_window(500), ReadTime(NOW_MS - age_ms, NOW_MS - age_ms))
    house.library._series[made.key] = made
    return made


def busy(house: ServingHarness) -> None:
    """Something to see in every part of the page."""
    for second in range(150):
        house.clock.seconds = 1_000.0 - 150 + second
        reason = (ReadReason.REFRESH, ReadReason.REFRESH, ReadReason.CLOSE, ReadReason.MISSING_ROWS)[second % 4]
        called = UpstreamCalled(
            "spot", "klines", KLINES, reason, "normal", 200, "", 40, 9, 0.1, subject=f"series {second % 7}"
        )
        house.events.emit(called)
    house.events.emit(GateChanged("futures", "closed", "403", 1.6))
    house.events.emit(GateChanged("futures", "open", "403", 0.0))
    house.events.emit(BodyRejected("usdm", "/fapi/v1/klines", BodyFault.PRICES, ""))
    house.clock.seconds = 1_000.0
    house.streams = [
        StreamsStatus("spot", "/stream", 1, {"fed": 55, "quiet": 4, "silent": 1}, 0, {"news": 9_000}, 0, 1),
        StreamsStatus(
            "usdm", "/market/stream", 1, {"fed": 9, "quiet": 1, "silent": 2}, 2, {"news": 900}, 0, 3, 0.0, "1006"
        ),
        StreamsStatus("coinm", "/stream", 0, {"fed": 0, "quiet": 0, "silent": 3}, 0, {}, 6, 90, 7.4, HOSTILE),
    ]
    house.listening = [
        ListenersStatus(
            "spot",
            {"websocket": 7, "events": 2, "wait": 4},
            30,
            5,
            90_000,
            {"conflated": 4, "repeated": 1},
            3,
            {"lost": 0, "slow": 1, "failed": 0},
            {"candle": 400, "closed": 9},
        ),
        ListenersStatus("usdm"),
    ]
    for moment_s, client, subject, weight in (
        (0.0, "engine", "spot/klines/BTCUSDT/1m", 2),
        (0.0, "", "spot/exchangeInfo", 20),
        (0.1, "ai", HOSTILE, 4),
    ):
        house.clock.seconds = 1_000.0 + moment_s
        house.events.emit(
            UpstreamCalled(
                "spot",
                "klines",
                KLINES,
                ReadReason.MISSING_ROWS,
                "normal",
                200,
                "",
                weight,
                9,
                0.1,
                500,
                client,
                subject,
            )
        )
    times = [Quantiles(0.000_01, 0.000_025), Quantiles(0.05, 2.5)]
    house.answers = RecentAnswers(
        by_second={
            "hit": [40 + 25 * (second % 60 > 30) for second in range(300)],
            "miss": [second % 7 for second in range(300)],
            "stale": [*[0] * 200, *[9] * 40, *[0] * 60],
            "error": [*[0] * 230, *[3] * 10, *[0] * 60],
            "unheard-of": [*[0] * 299, 1],
        },
        seconds={"all": times[0], "hit": times[0], "miss": times[1]},
        tail_ages={"spot": Quantiles(0.5, 1.5), "usdm": Quantiles(1.0, 3.0)},
    )
    house.profile = ProfileStatus(
        "/state/exchange-profile.json",
        NOW_MS,
        "1.2.3",
        {"spot": "https://api.binance.com"},
        45,
        (
            ProfileNote("spot.klines_cap", 500, 1_000, taken=True, effect="a read asks for at most 500 rows"),
            ProfileNote("coinm.both_ends_rows", HOSTILE, "newest", taken=False, effect=HOSTILE),
        ),
        (HOSTILE,),
    )
    house.results.update({"hit": 9_000, "miss": 30, "collapsed": 12, "refused": 4, "stale": 0})
    house.last_minute.update({"hit": 3_000, "miss": 10, "collapsed": 4, "refused": 1, "stale": 0})


def opened(window: Browser, url: str) -> None:
    window.open("about:blank")  # the last test's page has lost its server, and complains of it
    window.complaints()
    window.open(url)
    window.until(lambda: window.text("#updated").startswith("as of"))


def figures(window: Browser) -> dict[str, str]:
    """The figures at a glance, by their names."""
    found: dict[str, str] = window.run(
        "return Object.fromEntries([...document.querySelectorAll('#figures div')]"
        ".map((div) => [div.firstElementChild.textContent, div.lastElementChild.textContent]))"
    )
    return found
