"""How the cost of a hit, a refresh, a frame and a page grows with series and with rows: docs/pictures/growth.svg.

    python -m bench.growth

All in one process: a daemon without sockets, before an exchange that answers at once. CPU of this process; the
exchange's own is measured and subtracted. First the number of series grows, each with a few rows, then one series'
rows, a page of 1,000 at a time.
"""

import asyncio
import gc
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import matplotlib as mpl
import uvloop
from matplotlib.figure import Figure

from bench.frames import MINUTE, candle, values
from bench.rows import Aim, Row
from mdcache.cache.stream_frames import StreamFrames
from mdcache.clock import SystemClock
from mdcache.daemon.build import Daemon, build
from mdcache.events import Events
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import Market
from mdcache.exchange.streams import topic_of
from mdcache.settings import Settings
from mdcache.sim import Exchange, SimConfig
from mdcache.sim.config import SymbolSpec

SERIES = (100, 300, 1_000, 3_000, 10_000)
ROWS = (500, 5_000, 50_000, 500_000, 5_000_000)
PAGE = 1_000
FEW = 20  # rows of each of many series
KINDS = ("hit", "refresh", "frame", "page")
COLOURS = {"hit": "#1d4ed8", "refresh": "#0f766e", "frame": "#7c3aed", "page": "#c2410c"}
PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "growth.svg"
TIMES = {"hit": 20_000, "refresh": 200, "frame": 2_000, "page": 60}
FIRST_HITS = 300  # at least, in each round
A_SECOND_LATER_S = 1.02
ROUNDS = 3
AIM = 2.0  # times: flat, or logarithmic
LENGTHS = {"1m": MINUTE, "1d": 1_440 * MINUTE}
KLINES = "/api/v3/klines"
LONG = "GROWN"
SERVERS = [(b"server", b"mdcache")], [(b"server", b"mdcache")]

Costs = dict[str, list[float]]


class InstantExchange(httpx.AsyncBaseTransport):
    """Answers at once: klines from a formula, all else from the simulated exchange. `spent_s`: its own CPU."""

    def __init__(self, symbols: Sequence[str]) -> None:
        listed = tuple(SymbolSpec("spot", name, listed_ms=1_483_228_800_000) for name in symbols)
        self._exchange = Exchange(SimConfig(spot_limit=10**9, symbols=listed), now_ms=now_ms)
        self.spent_s = 0.0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        began = time.process_time()
        if request.url.path == KLINES:
            status, headers, body = 200, [("content-type", "application/json")], self._rows(request.url.params)
        else:
            reply = self._exchange.respond("GET", request.url.path, request.url.query.decode(), {}, "192.0.2.1")
            status, headers, body = reply.status, list(reply.headers), reply.body
        self.spent_s += time.process_time() - began
        return httpx.Response(status, headers=headers, content=body, request=request)

    def _rows(self, asked: httpx.QueryParams) -> bytes:
        limit, now = int(asked.get("limit", "500")), now_ms()
        step = LENGTHS[asked["interval"]]
        end = min(int(asked.get("endTime", now)), now) // step * step
        start = -(-int(asked["startTime"]) // step) * step if "startTime" in asked else end - (limit - 1) * step
        last = min(end, start + (limit - 1) * step)
        return b"[%b]" % b",".join(row(opened, step, now) for opened in range(start, last + 1, step))


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def row(opened: int, length: int, now: int) -> bytes:
    trades = min(length, now - opened)
    first, high, low, close, volume, quote = values(trades)
    return (
        f'[{opened},"{first}","{high}","{low}","{close}","{volume}",{opened + length - 1},"{quote}",{trades},'
        f'"{volume}","{quote}","0"]'
    ).encode()


class Grown:
    """The daemon, and what is asked of it."""

    def __init__(self) -> None:
        self.names = [f"COIN{number}USDT" for number in range(max(SERIES))]
        self.exchange = InstantExchange([*self.names, LONG])
        settings = Settings().model_copy(
            update={"streams": "off", "derive": False, "memory_max_mb": 8_000, "weight_share": 1.0}
            | {"open_candle_ttl_s": 3_600.0, "open_candle_ttls": {}, "request_deadline_s": 60.0}
        )  # fmt: skip
        self.daemon: Daemon = build(settings, SystemClock(), random.Random(1), Events(), transport=self.exchange)
        clocks = self.daemon.governor.clocks
        self.sink = StreamFrames(self.daemon.cache.registry, SystemClock(), clocks.now, Events())
        self.draw = random.Random(2)
        self.oldest_ms = now_ms() // MINUTE * MINUTE
        self.sent = 0

    async def ask(self, query: str, *headers: tuple[bytes, bytes]) -> None:
        """One question, as the server passes it on."""
        raw = f"GET {KLINES}?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        scope = {
            "type": "http", "method": "GET", "path": KLINES, "raw_path": KLINES.encode(), "client": None,
            "query_string": query.encode(), "headers": [(b"host", b"x"), *headers],
            "extensions": {} if headers else {"mdcache.request": {"bytes": raw}},
        }  # fmt: skip

        async def receive() -> dict[str, object]:
            raise AssertionError("there is no body")

        async def send(message: object) -> None:
            if isinstance(message, dict) and message.get("status", 200) != httpx.codes.OK:
                raise AssertionError(message)

        await self.daemon.app(scope, receive, send)

    async def hit(self, query: str) -> None:
        raw = f"GET {KLINES}?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        self.sent += 1
        server = SERVERS[self.sent % 2]  # so that each reply is made anew, as by the first hit of a second
        for _ in range(5):
            if self.daemon.app.fast_lanes[True].answer(raw, server) is not None:
                return
            await self.ask(query)  # its candle has just closed
        raise AssertionError(f"no hit: {query}")

    async def frame(self, symbol: str, interval: str) -> None:
        now, length = now_ms(), LENGTHS[interval]
        opened = now // length * length
        topic = topic_of(series(symbol, interval))
        assert topic is not None
        self.sink.take(Market.SPOT, topic, candle(opened, now - opened, symbol, now, interval, length))

    async def older_page(self) -> None:
        """Read the thousand rows before the oldest known ones."""
        end, self.oldest_ms = self.oldest_ms - MINUTE, self.oldest_ms - PAGE * MINUTE
        await self.ask(f"symbol={LONG}&interval=1m&limit={PAGE}&startTime={self.oldest_ms}&endTime={end}")

    async def refresh(self, query: str) -> None:
        await self.ask(query, (b"cache-control", b"no-cache"))

    async def cost(self, kind: str, step: Callable[[], Awaitable[None]]) -> float:
        """Return microseconds of CPU for each of `TIMES`, at best of the rounds: the rest is the machine's."""
        found = []
        for _ in range(ROUNDS):
            times = TIMES[kind]
            others, began = self.exchange.spent_s, time.process_time()
            for _ in range(times):
                await step()
            found.append((time.process_time() - began - (self.exchange.spent_s - others)) / times * 1e6)
        return min(found)

    async def first_hits_cost(self, symbols: list[str]) -> float:
        """The same of hits that are the first of their second, of each series in random order.

        Those that follow within the second cost less; there are more of them if the same hits go to fewer series.
        """
        found = []
        for _ in range(ROUNDS):
            spent = 0.0
            times = max(1, FIRST_HITS // len(symbols))
            for _ in range(times):
                self.draw.shuffle(symbols)
                await asyncio.sleep(A_SECOND_LATER_S)
                began = time.process_time()
                for symbol in symbols:
                    await self.hit(few(symbol))
                spent += time.process_time() - began
            found.append(spent / times / len(symbols) * 1e6)
        return min(found)


def series(symbol: str, interval: str) -> SeriesKey:
    return SeriesKey(Market.SPOT, "klines", symbol, "", interval)


def few(symbol: str) -> str:
    return f"symbol={symbol}&interval=1d&limit={FEW}"


async def grow_series(world: Grown, costs: Costs) -> None:
    """Measure with ever more series."""
    held = 0
    for number in SERIES:
        for symbol in world.names[held:number]:
            for _ in range(3):  # from the third time on by its bytes
                await world.ask(few(symbol))
            world.sink.add(series(symbol, "1d"))
        held, known = number, world.names[:number]
        gc.freeze()
        for symbol in known:  # all are hits now
            await world.hit(few(symbol))

        async def refresh(known: Sequence[str] = known) -> None:
            await world.refresh(few(world.draw.choice(known)))

        async def frame(known: Sequence[str] = known) -> None:
            await world.frame(world.draw.choice(known), "1d")

        costs["hit"].append(await world.first_hits_cost(known))
        costs["page"].append(await world.cost("page", world.older_page))
        costs["refresh"].append(await world.cost("refresh", refresh))
        costs["frame"].append(await world.cost("frame", frame))


async def grow_rows(world: Grown, costs: Costs) -> None:
    """Measure with ever more rows of one series."""
    query = f"symbol={LONG}&interval=1m&limit=500"
    world.sink.add(series(LONG, "1m"))
    first_ms = now_ms()
    for number in ROWS:
        while (first_ms - world.oldest_ms) // MINUTE + PAGE <= number:
            await world.older_page()
        for _ in range(3):
            await world.ask(query)
        gc.freeze()

        async def hit() -> None:
            await world.hit(query)

        async def refresh() -> None:
            await world.refresh(query)

        async def frame() -> None:
            await world.frame(LONG, "1m")

        costs["hit"].append(await world.cost("hit", hit))
        costs["refresh"].append(await world.cost("refresh", refresh))
        costs["frame"].append(await world.cost("frame", frame))
        costs["page"].append(await world.cost("page", world.older_page))


@contextmanager
def quiet_collector() -> Iterator[None]:
    """Collect garbage as the daemon does."""
    gc.collect()
    gc.set_threshold(10_000, 4, 500)
    yield
    gc.unfreeze()


async def measure() -> tuple[Costs, Costs]:
    by_series: Costs = {kind: [] for kind in KINDS}
    by_rows: Costs = {kind: [] for kind in KINDS}
    with quiet_collector():
        world = Grown()
        await world.daemon.start()
        await grow_series(world, by_series)
        await world.daemon.aclose()
        world = Grown()
        await world.daemon.start()
        await grow_rows(world, by_rows)
        await world.daemon.aclose()
    return by_series, by_rows


def draw(by_series: Costs, by_rows: Costs) -> None:
    """Write the picture."""
    with mpl.rc_context({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(9.0, 4.0), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, sizes, costs, what in (
            (left, SERIES, by_series, "series"),
            (right, ROWS, by_rows, "rows of a series"),
        ):
            for kind in KINDS:
                axes.plot(sizes, costs[kind], marker="o", color=COLOURS[kind], label=kind)
                axes.annotate(kind, (sizes[-1], costs[kind][-1]), (6, 0), textcoords="offset points", va="center")
            axes.set(xscale="log", yscale="log", xlabel=what)
            axes.grid(axis="y", alpha=0.3)
        left.set_ylabel("µs of CPU each")
    with mpl.rc_context({"svg.hashsalt": "mdcache"}):
        figure.savefig(PICTURE, metadata={"Date": None})


def rows(_: str) -> list[Row]:
    """Measure, draw, and return how often the cost at the smallest size the largest takes."""
    by_series, by_rows = uvloop.run(measure())
    draw(by_series, by_rows)
    found = []
    for costs, sizes, what in ((by_series, SERIES, "series"), (by_rows, ROWS, "rows")):
        for kind in KINDS:
            seen = costs[kind]
            said = f"{seen[0]:,.1f} µs at {sizes[0]:,}, {seen[-1]:,.1f} µs at {sizes[-1]:,}"
            found.append(Row(f"a {kind} as {what} grow", seen[-1] / seen[0], Aim(AIM, at_most=True), said))
    return found


def main() -> None:
    for each in rows(""):
        print(each.line())


if __name__ == "__main__":
    main()
