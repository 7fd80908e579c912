"""Whole months from dump files: served as Binance answers, without a read, through every fault of a file."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mdcache.cache import dump_loader
from mdcache.cache.job import UNFINISHED_STATES, JobState
from mdcache.cache.warmup import WarmupProgress, WarmupRequest
from mdcache.candles.persistence import SeriesFilter
from mdcache.candles.window import Window, WindowKind
from mdcache.events import DumpRowsJudged, DumpVerdict
from mdcache.exchange.markets import Market
from mdcache.sim import SimConfig
from mdcache.upstream.priority import Lane, Priority
from tests.support.dump_folder import HEADER, MirrorOfDumps, csv_lines, zipped
from tests.support.examples import thinned
from tests.support.virtual_daemon import DaemonOptions, VirtualDaemon

pytestmark = pytest.mark.virtual

HOUR, DAY = 3_600_000, 86_400_000
FIRST = date(2025, 1, 1)
JAN, FEB, MAR = (int(datetime(2025, month, 1, tzinfo=UTC).timestamp()) * 1000 for month in (1, 2, 3))
HOURS = (MAR - JAN) // HOUR
PATHS = {Market.SPOT: "/api/v3/klines", Market.USDM: "/fapi/v1/klines", Market.COINM: "/dapi/v1/klines"}


@dataclass
class Home:
    """A daemon in front of the exchange, and a mirror of dump files with two months of hours."""

    folder: Path
    market: Market = Market.SPOT
    flat: bool = False
    daemon: VirtualDaemon = field(init=False)
    dumps: MirrorOfDumps = field(init=False)

    def __post_init__(self) -> None:
        (self.folder / "s").mkdir(exist_ok=True)
        self.daemon = VirtualDaemon(SimConfig(spot_limit=1_000_000, futures_limit=1_000_000), folder=self.folder / "s")
        self.dumps = MirrorOfDumps(self.folder / "dumps", self.flat)

    @property
    def symbol(self) -> str:
        return "BTCUSD_PERP" if self.market is Market.COINM else "BTCUSDT"

    def queries(self, start: int, end: int) -> list[str]:
        spans = [(at, min(at + 20 * DAY, end) - 1) for at in range(start, end, 20 * DAY)]
        return [f"symbol={self.symbol}&interval=1h&startTime={a}&endTime={b}&limit=1000" for a, b in spans]

    def truth(self, start: int = JAN, end: int = MAR) -> list[bytes]:
        """The bodies that Binance answers."""
        now = self.daemon.clock.true_ms()
        return [self.daemon.exchange.truth(PATHS[self.market], each, at_ms=now) for each in self.queries(start, end)]

    def lines(self, start: int, end: int) -> list[bytes]:
        """The lines of a file, without a header."""
        return [line for body in self.truth(start, end) for line in csv_lines(body, micros=self.market is Market.SPOT)]

    def put(self, first: date, lines: list[bytes], *, daily: bool = False) -> Path:
        return self.dumps.put(self.market, self.symbol, "1h", first, lines, daily=daily)

    def put_both(self, change: Callable[[list[bytes]], list[bytes]] = lambda lines: lines) -> Path:
        """Write both months, and return the file of January, in which something may be changed."""
        self.put(date(2025, 2, 1), self.lines(FEB, MAR))
        return self.put(FIRST, change(self.lines(JAN, FEB)))

    async def load(self, **changes: Any) -> WarmupProgress:
        asked: dict[str, Any] = {"symbols": (self.symbol,), "intervals": ("1h",), "since_ms": JAN, "until_ms": MAR - 1}
        asked |= {"dumps": str(self.dumps.root)} | changes
        assert self.daemon.warming.start(WarmupRequest(self.market, **asked))
        while (found := self.daemon.warming.progress()).state in UNFINISHED_STATES:
            await self.daemon.clock.sleep(0.05)
        return found

    async def served(self, start: int = JAN, end: int = MAR) -> tuple[list[bytes], int]:
        """The daemon's answers, and how many reads they took."""
        calls = self.kline_calls()
        bodies = [(await self.daemon.ask(PATHS[self.market], each)).body for each in self.queries(start, end)]
        return bodies, self.kline_calls() - calls

    def kline_calls(self) -> int:
        return sum(entry.path.endswith("/klines") for entry in self.daemon.exchange.log)

    def judged(self, verdict: DumpVerdict) -> int:
        events = [event for event in self.daemon.events if isinstance(event, DumpRowsJudged)]
        return sum(event.rows for event in events if event.verdict is verdict)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("market", list(Market))
async def test_what_the_files_have_is_served_as_binance_prints_it(tmp_path: Path, market: Market, flat: bool) -> None:
    home = Home(tmp_path, market, flat)
    home.put_both(lambda lines: lines if market is Market.SPOT else [HEADER, *lines])
    found = await home.load()
    assert (found.state, found.detail, found.errors, found.unusable) == (JobState.DONE, "", {}, {})
    assert (found.rows, found.left, found.pages_left, found.weight) == (HOURS, 0, 0, 0)
    assert await home.served() == (home.truth(), 0)
    await home.daemon.aclose()
    home.daemon.restart()
    assert await home.served() == (home.truth(), 0)
    again = await home.load()
    assert (again.state, again.rows, again.known) == (JobState.DONE, 0, 0), "no file is opened again"


async def test_what_is_stored_leaves_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump_loader, "_BLOCKS_AT_ONCE", 1)
    home = Home(tmp_path)
    now = home.daemon.clock.true_ms()
    for day in range(4):
        lines: list[bytes] = []
        for start in range(JAN + day * DAY, JAN + (day + 1) * DAY, DAY // 2):
            query = f"symbol=BTCUSDT&interval=1m&startTime={start}&endTime={start + DAY // 2 - 1}&limit=1000"
            lines += csv_lines(home.daemon.exchange.truth(PATHS[Market.SPOT], query, at_ms=now), micros=True)
        home.dumps.put(Market.SPOT, "BTCUSDT", "1m", FIRST + timedelta(days=day), lines, daily=True)
    found = await home.load(intervals=("1m",), until_ms=JAN + 4 * DAY - 1)
    assert (found.rows, home.daemon.library.rows) == (4 * 1440, 0)


async def test_what_was_read_stands_and_differences_are_told(tmp_path: Path) -> None:
    home = Home(tmp_path, Market.USDM)
    await home.served(JAN, JAN + 5 * DAY)
    home.put_both(lambda lines: [_other_price(line) if n % 9 == 5 else line for n, line in enumerate(lines)])
    found = await home.load()
    assert found.differing == home.judged(DumpVerdict.DIFFERING) > 10
    assert (await home.served(JAN, JAN + 5 * DAY)) == (home.truth(JAN, JAN + 5 * DAY), 0)


async def test_a_read_over_rows_of_a_dump_replaces_what_it_contradicts(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.put_both(lambda lines: [_other_price(lines[0]), *lines[1:]])
    await home.load()
    query = f"symbol={home.symbol}&interval=1h&startTime={JAN - 3 * HOUR}&endTime={JAN + HOUR}"
    found = await home.daemon.ask(PATHS[home.market], query)
    assert found.body == home.daemon.exchange.truth(PATHS[home.market], query, at_ms=home.daemon.clock.true_ms())
    assert home.judged(DumpVerdict.DIFFERING) > 0


async def test_an_audit_takes_what_it_reads_in_place_of_what_a_dump_had(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.put_both(lambda lines: [*lines[:300], _other_price(lines[300]), *lines[301:]])
    await home.load()
    (series,) = home.daemon.library
    await home.daemon.ask(PATHS[home.market], "symbol=ETHUSDT&interval=1h&limit=1")  # measures the clock
    window = Window(WindowKind.RANGE, JAN + 250 * HOUR, JAN + 350 * HOUR, 101)
    read = await home.daemon.flights.reread(series, window, Priority(Lane.LOW, home.daemon.clock.now() + 8))
    assert (read.found.changes, read.contradicted) == ((), 1)
    assert home.judged(DumpVerdict.DIFFERING) == 1
    assert series.from_dumps.intersection(JAN + 250 * HOUR, JAN + 350 * HOUR) == []
    assert (await home.served(JAN + 250 * HOUR, JAN + 350 * HOUR)) == (
        home.truth(JAN + 250 * HOUR, JAN + 350 * HOUR),
        0,
    )


async def test_an_audit_of_wrong_dumps_says_so(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.put_both(lambda lines: [_other_price(line) for line in lines])
    await home.load()
    await home.daemon.ask(PATHS[home.market], "symbol=ETHUSDT&interval=1h&limit=1")  # measures the clock
    assert home.daemon.audit.start(SeriesFilter(subject=home.symbol), 200)
    while (found := home.daemon.audit.progress()).state in UNFINISHED_STATES:
        await home.daemon.clock.sleep(0.1)
    assert found.detail == ""
    assert found.verdicts["different"] >= 20
    assert found.differing == found.verdicts["different"]
    assert found.rows == sum(found.verdicts.values())


def _other_price(line: bytes) -> bytes:
    cells = line.split(b",")
    cells[5] = b"9" + cells[5]
    return b",".join(cells)


async def test_lost_days_come_from_daily_files_and_else_from_binance(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.put_both(lambda lines: [*lines[: 4 * 24], *lines[7 * 24 :]])
    day = JAN + 5 * DAY
    home.put(FIRST + timedelta(days=5), home.lines(day, day + DAY), daily=True)
    found = await home.load()
    assert found.rows == HOURS - 2 * 24
    assert sorted(found.unusable.values()) == ["missing", "missing"]
    bodies, reads = await home.served()
    assert bodies == home.truth()
    assert 0 < reads <= 4


async def test_a_stale_checksum_sends_us_to_the_daily_files_and_then_to_binance(tmp_path: Path) -> None:
    home = Home(tmp_path)
    january = home.put_both()
    home.dumps.write(january, january.read_bytes(), checksum_of=b"an earlier issue")
    for n in range(0, 31, 2):
        home.put(FIRST + timedelta(days=n), home.lines(JAN + n * DAY, JAN + n * DAY + DAY), daily=True)
    found = await home.load()
    assert found.unusable["BTCUSDT-1h-2025-01.zip"] == "checksum: it was issued again, or is damaged"
    assert found.state is JobState.DONE
    assert FEB - JAN > (found.rows - 28 * 24) * HOUR > 0
    assert (await home.served())[0] == home.truth()


def _bomb(path: Path) -> bytes:
    return zipped(path.name, [b"0" * 3_000_000])


def _two_files(path: Path) -> bytes:
    return zipped("other.zip", [b"1,2,3"])


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda _: b"", "damaged"),
        (lambda _: b"<html>not found</html>", "damaged"),
        (lambda path: path.read_bytes()[:-500], "damaged"),
        (lambda path: path.read_bytes()[:3_000] + b"\0\0\0\0" + path.read_bytes()[3_004:], "damaged"),
        (_bomb, "too large"),
        (_two_files, "damaged"),
        (lambda path: zipped(path.name, [b""]), ""),
        (lambda path: zipped(path.name, [b'1735689600000,"],[],1,1,1,1,1,1,1,1,0', b"\xff" * 50]), ""),
    ],
)
async def test_a_broken_file_is_left_and_nothing_of_it_is_served(
    tmp_path: Path, damage: Callable[[Path], bytes], told: str
) -> None:
    home = Home(tmp_path)
    january = home.put_both()
    home.dumps.write(january, damage(january))
    found = await home.load()
    assert found.state is JobState.DONE
    assert found.unusable.get(january.name, "").partition(":")[0] == told
    assert found.rows == 28 * 24
    assert (await home.served())[0] == home.truth()


async def test_lines_that_are_no_rows_are_left_alone(tmp_path: Path) -> None:
    home = Home(tmp_path)

    def spoil(lines: list[bytes]) -> list[bytes]:
        lines[10] = lines[10].replace(b".", b",", 1)  # a cell too many
        lines[20] = lines[20][:-1] + b"12.5"  # what was not 0 in 2017 is not known to be printed so
        lines[30] = lines[30].replace(b"00,", b",", 1)  # printed with fewer decimals
        lines[40] = lines[40].replace(b"000,", b"007,", 1)  # no whole millisecond
        lines[50:52] = [lines[51], lines[50]]
        lines[60:60] = [lines[60], _other_price(lines[60])]
        lines[70:70] = [lines[70]]
        lines[80] = lines[700]
        lines[90] = lines[90].replace(lines[90][:13], b"%d" % (JAN - DAY))
        return lines

    home.put_both(spoil)
    found = await home.load()
    assert 6 <= found.left < 40
    assert found.rows > HOURS - 40
    assert (await home.served())[0] == home.truth()


async def test_it_stops_if_nothing_can_be_had_or_kept(tmp_path: Path) -> None:
    home = Home(tmp_path)
    nowhere = await home.load(dumps=str(tmp_path / "nowhere"))
    assert (nowhere.state, "is no folder" in nowhere.detail) == (JobState.FAILED, True)
    home.put_both()
    for symbols, intervals in ((("../../BTCUSDT",), ("1h",)), (("BTCUSDT",), ("7m",))):
        refused = await home.load(symbols=symbols, intervals=intervals)
        assert (refused.state, len(refused.errors), refused.rows) == (JobState.DONE, 1, 0)
    home.daemon = VirtualDaemon(SimConfig(), DaemonOptions(), None)
    unkept = await home.load()
    assert (unkept.state, "persistence is off" in unkept.detail) == (JobState.FAILED, True)


def _any_lines(rng: random.Random, lines: list[bytes]) -> list[bytes]:
    """Lines of which some are lost, differ or are no rows."""
    fault = rng.choice(["none", "lost", "differing", "broken"])
    at = rng.randrange(len(lines))
    some = slice(at, at + rng.choice([1, 5, 40]))
    if fault == "lost":
        return lines[: some.start] + lines[some.stop :]
    if fault == "differing":
        return [*lines[: some.start], *map(_other_price, lines[some]), *lines[some.stop :]]
    if fault == "broken":
        return [*lines[: some.start], *(line[: rng.randrange(40)] for line in lines[some]), *lines[some.stop :]]
    return lines


def _put_any(rng: random.Random, home: Home, first: date, start: int, end: int, *, daily: bool = False) -> None:
    """A file that is right, missing, damaged or stale, or has lines that are wrong."""
    if rng.random() < 0.2:
        return
    path = home.put(first, _any_lines(rng, home.lines(start, end)), daily=daily)
    whole = path.read_bytes()
    if (dice := rng.random()) < 0.1:
        home.dumps.write(path, whole[: rng.randrange(len(whole))])
    elif dice < 0.2:
        home.dumps.write(path, whole, checksum_of=b"an earlier issue")


@pytest.mark.parametrize("seed", thinned(range(16), 4))
async def test_any_files_and_reads_end_in_binances_rows_wherever_it_was_asked(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    home = Home(tmp_path, rng.choice(list(Market)))
    _put_any(rng, home, FIRST, JAN, FEB)
    _put_any(rng, home, date(2025, 2, 1), FEB, MAR)
    for day in rng.sample(range(59), 12):
        start = JAN + day * DAY
        _put_any(rng, home, FIRST + timedelta(days=day), start, start + DAY, daily=True)
    for _ in range(3):
        start = JAN + rng.randrange(-100, 1_400) * HOUR
        await home.served(start, start + rng.randrange(1, 300) * HOUR)
        if rng.random() < 0.7:
            assert (await home.load()).state is JobState.DONE
    rows = {int(row[: row.index(b",")]): row for body in (await home.served())[0] for row in body[2:-2].split(b"],[")}
    truth = {int(row[: row.index(b",")]): row for body in home.truth() for row in body[2:-2].split(b"],[")}
    (series,) = [each for each in home.daemon.library if each.key.kind == "klines"]
    assert series.coverage.gaps(JAN, MAR - HOUR) == []
    for open_ms in {*rows, *truth}:
        if series.from_dumps.at(open_ms) is None:
            assert rows.get(open_ms) == truth.get(open_ms)
        else:
            assert open_ms in rows, "no dump proves a hole"
