"""Dump files have data.binance.vision's names and form, hold REST's candles, and can be wrong in each known way."""

import hashlib
import io
import itertools
import zipfile
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from mdcache.sim import SimConfig
from mdcache.sim.asgi import SimApp
from mdcache.sim.asgi_scope import ConnectionBroken
from mdcache.sim.control.dump_faults import DUMP_FAULT_KINDS
from mdcache.sim.dumps.files import HEADER
from mdcache.sim.dumps.names import parse
from tests.sim.helpers import COIN, DAY, HOUR, LISTED, MINUTE, T0, WORLD, Sim

SPOT = "data/spot/monthly/klines/BTCUSDT"
OCTOBER = f"{SPOT}/1h/BTCUSDT-1h-2023-10.zip"
YESTERDAY = "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2023-11-14.zip"
USDM = "data/futures/um/daily/{0}/BTCUSDT/1h/BTCUSDT-1h-2023-11-13.zip"
OCTOBER_MS, NOVEMBER_MS = T0 - 45 * DAY, T0 - 14 * DAY


class Files:
    """The server of the files, and the sleeps that it asked for."""

    def __init__(self, sim: Sim) -> None:
        self.sim = sim
        self.slept: list[float] = []
        app = SimApp(sim.exchange, self._sleep)
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sim/dumps/")

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.sim.now += round(seconds * 1000)

    async def lines(self, path: str) -> list[bytes]:
        """The lines of a file, which must be whole and match its checksum."""
        body = (await self.client.get(path)).raise_for_status().content
        told = (await self.client.get(path + ".CHECKSUM")).raise_for_status().text
        name = path.rpartition("/")[2]
        assert told == f"{hashlib.sha256(body).hexdigest()}  {name}\n"
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            assert archive.namelist() == [name.replace(".zip", ".csv")]
            assert archive.testzip() is None
            content = archive.read(archive.namelist()[0])
        assert content.endswith(b"\n")
        return content.split(b"\n")[:-1]

    async def status(self, path: str, method: str = "GET") -> int:
        return (await self.client.request(method, path)).status_code


@pytest.fixture
def files(sim: Sim) -> Files:
    return Files(sim)


def as_csv(rows: list[list[Any]]) -> list[bytes]:
    return [",".join(map(str, row)).encode() for row in rows]


async def test_a_month_of_spot_is_what_rest_shows(files: Files, sim: Sim) -> None:
    shown = sim.parts("BTCUSDT", "1h", OCTOBER_MS, NOVEMBER_MS)
    assert shown[0][0] == LISTED // HOUR * HOUR
    assert await files.lines(OCTOBER) == as_csv(shown)


async def test_futures_have_a_header_line_since_2021(files: Files, sim: Sim) -> None:
    start = T0 - 2 * DAY
    for kind in ("klines", "indexPriceKlines", "markPriceKlines", "premiumIndexKlines"):
        named = "pair" if kind.startswith("index") else "symbol"
        query = f"{named}=BTCUSDT&interval=1h&startTime={start}&endTime={start + DAY - 1}"
        head, *lines = await files.lines(USDM.format(kind))
        assert head + b"\n" == HEADER
        assert lines == as_csv(sim.rows(query, f"/fapi/v1/{kind}"))
        assert len(lines) == 24


async def test_what_is_old_has_none(files: Files, sim: Sim) -> None:
    old = SimConfig(symbols=(*WORLD[:-1], COIN.__class__("coinm", "BTCUSD_PERP", T0 - 1500 * DAY, pair="BTCUSD")))
    files = Files(Sim(config=old))
    folder = "data/futures/cm/monthly/klines/BTCUSD_PERP/1d/BTCUSD_PERP-1d-"
    assert (await files.lines(folder + "2020-09.zip"))[0].startswith(b"1598918400000,")
    assert (await files.lines(folder + "2021-09.zip"))[0] + b"\n" == HEADER
    assert (await files.lines("data/futures/cm/daily/indexPriceKlines/BTCUSD/1d/BTCUSD-1d-2021-09-01.zip"))[1:]
    assert (
        await files.status("data/futures/cm/daily/indexPriceKlines/BTCUSD_PERP/1d/BTCUSD_PERP-1d-2021-09-01.zip") == 404
    )


async def test_spot_is_in_microseconds_since_2025(sim: Sim) -> None:
    sim.now = 1_738_368_000_000 + 10 * DAY
    files = Files(sim)
    december = await files.lines(f"{SPOT}/1mo/BTCUSDT-1mo-2024-12.zip")
    january = await files.lines(f"{SPOT}/1mo/BTCUSDT-1mo-2025-01.zip")
    assert [line.split(b",")[0] for line in (*december, *january)] == [b"1733011200000", b"1735689600000000"]
    assert january[0].split(b",")[6] == b"1738367999999999"
    sim.control.dump_fault("milliseconds", contains="-1mo-2025")
    (line,) = await files.lines(f"{SPOT}/1mo/BTCUSDT-1mo-2025-01.zip")
    assert line.split(b",")[6] == b"1738367999999"


async def test_a_file_is_as_old_as_its_publication(files: Files, sim: Sim) -> None:
    query = f"symbol=BTCUSDT&interval=1m&startTime={T0 - DAY}&endTime={T0 - 1}&limit=1000"
    sim.control.revise("/api/v3/klines", "BTCUSDT", "1m", T0 - DAY, from_ms=T0, volume="1")
    sim.control.revise("/api/v3/klines", "BTCUSDT", "1m", T0 - DAY + MINUTE, from_ms=T0 + 5 * HOUR, volume="1")
    lines = await files.lines(YESTERDAY)
    assert len(lines) == 1440 - 30  # the outage that was filled in later
    shown = as_csv(sim.rows(query))
    assert (lines[0] == shown[0], lines[1] == shown[1], lines[2] == shown[2]) == (True, False, True)


@pytest.mark.parametrize(
    ("path", "published_ms"),
    [
        (YESTERDAY, T0 + 4 * HOUR),
        (OCTOBER, T0 - 9 * DAY + 4 * HOUR),  # Monday, 6 November
        (f"{SPOT}/1w/BTCUSDT-1w-2023-10.zip", T0 - 9 * DAY + 4 * HOUR),
        (f"{SPOT}/3d/BTCUSDT-3d-2024-03.zip", 1_711_929_600_000 + 3 * DAY),  # 1 April is a Monday
    ],
)
async def test_files_are_published_late(sim: Sim, path: str, published_ms: int) -> None:
    files = Files(sim)
    sim.now = published_ms - 1
    assert await files.status(path) == 404
    sim.now += 1
    assert await files.status(path) == 200


@pytest.mark.parametrize(
    "path",
    [
        SPOT,
        f"{SPOT}/1h/",
        f"{SPOT}/1h/<&>.zip",
        f"{SPOT}/7m/BTCUSDT-7m-2023-10.zip",
        f"{SPOT}/1h/ETHUSDT-1h-2023-10.zip",
        f"{SPOT}/1h/BTCUSDT-1m-2023-10.zip",
        f"{SPOT}/1M/BTCUSDT-1M-2023-10.zip",
        f"{SPOT}/1h/BTCUSDT-1h-2023-13.zip",
        f"{SPOT}/1h/BTCUSDT-1h-2023-10-01.zip",
        "data/spot/daily/klines/BTCUSDT/1w/BTCUSDT-1w-2023-11-06.zip",
        "data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2023-11-31.zip",
        "data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2023-11.zip",
        "data/spot/monthly/markPriceKlines/BTCUSDT/1h/BTCUSDT-1h-2023-10.zip",
        "data/spot/monthly/trades/BTCUSDT/BTCUSDT-trades-2023-10.zip",
        "data/futures/um/monthly/klines/BTCUSDT/1s/BTCUSDT-1s-2023-10.zip",
        f"{SPOT}/1h/BTCUSDT-1h-2023-09.zip",  # before its listing
        "data/spot/monthly/klines/NONEUSDT/1h/NONEUSDT-1h-2023-10.zip",
        "data/spot/monthly/klines/GONEUSDT/1h/GONEUSDT-1h-2023-11.zip.CHECKSUM",  # not published yet
    ],
)
async def test_what_there_is_not(files: Files, path: str) -> None:
    reply = await files.client.get(path)
    assert (reply.status_code, reply.headers["content-type"]) == (404, "application/xml")
    assert "<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message><Key>data/" in reply.text
    assert "<&>" not in reply.text


async def test_the_last_file_of_a_delisted_symbol(files: Files) -> None:
    lines = await files.lines("data/spot/daily/klines/GONEUSDT/1h/GONEUSDT-1h-2023-11-05.zip")
    assert len(lines) == 24


async def test_head_tells_the_size(files: Files, sim: Sim) -> None:
    head, got = await files.client.head(OCTOBER), await files.client.get(OCTOBER)
    for name in ("content-length", "etag", "last-modified", "content-type"):
        assert head.headers[name] == got.headers[name]
    assert int(got.headers["content-length"]) == len(got.content)
    assert got.headers["last-modified"] == "Mon, 06 Nov 2023 04:00:00 GMT"
    assert got.headers["etag"] == f'"{hashlib.md5(got.content, usedforsecurity=False).hexdigest()}"'
    assert (await files.client.post(OCTOBER)).status_code == 405
    assert [(entry.method, entry.status, entry.weight) for entry in sim.exchange.log] == [
        ("HEAD", 200, 0), ("GET", 200, 0), ("POST", 405, 0),
    ]  # fmt: skip
    assert sim.exchange.used_weight("spot") == 0


async def test_a_ban_of_the_api_does_not_count_here(files: Files, sim: Sim) -> None:
    sim.control.ban("spot", 60)
    sim.control.fault("503", path="/api/")
    assert await files.status(OCTOBER) == 200


async def test_the_loop_is_free_while_a_file_is_made(files: Files) -> None:
    await files.lines(YESTERDAY)
    assert files.slept == [0, 0, 0]  # once: 1,410 rows in slices of 512; the checksum is that of the kept file


async def stale(files: Files) -> None:
    body = (await files.client.get(OCTOBER)).content
    assert hashlib.sha256(body).hexdigest() not in (await files.client.get(OCTOBER + ".CHECKSUM")).text


async def damaged(files: Files) -> None:
    body = (await files.client.get(OCTOBER)).content
    assert hashlib.sha256(body).hexdigest() in (await files.client.get(OCTOBER + ".CHECKSUM")).text
    with pytest.raises((zipfile.BadZipFile, zlib.error)), zipfile.ZipFile(io.BytesIO(body)) as archive:
        archive.read(archive.namelist()[0])


async def cut(files: Files) -> None:
    with pytest.raises(ConnectionBroken):
        await files.client.get(OCTOBER)
    assert await files.status(OCTOBER, "HEAD") == 200


async def slow(files: Files) -> None:
    size = len((await files.client.get(OCTOBER)).content)
    assert sum(files.slept) == pytest.approx(size / 10_000)


async def differing(files: Files) -> None:
    lines = await files.lines(OCTOBER)
    files.sim.control.clear_dump_faults()
    changed = [(one, other) for one, other in zip(lines, await files.lines(OCTOBER), strict=True) if one != other]
    ((one, other),) = ((a.split(b","), b.split(b",")) for a, b in changed)
    assert one[:5] + one[6:] == other[:5] + other[6:]
    assert float(one[5]) == pytest.approx(float(other[5]) + 8.5)


async def lost(files: Files) -> None:
    lines = await files.lines(OCTOBER)
    files.sim.control.clear_dump_faults()
    whole = await files.lines(OCTOBER)
    assert len(lines) == len(whole) - 60
    assert set(lines) < set(whole)


def status(code: int) -> Callable[[Files], Awaitable[None]]:
    async def check(files: Files) -> None:
        assert [await files.status(OCTOBER, method) for method in ("GET", "HEAD")] == [code, code]

    return check


async def headed(files: Files) -> None:
    assert (await files.lines(OCTOBER))[0] + b"\n" == HEADER
    files.sim.control.dump_fault("no_header")
    assert (await files.lines(OCTOBER))[0] + b"\n" != HEADER
    assert (await files.lines(USDM.format("klines")))[0] + b"\n" != HEADER


async def in_milliseconds(files: Files) -> None:
    assert (await files.lines(OCTOBER))[0].startswith(b"16")


FAULTS: dict[str, Callable[[Files], Awaitable[None]]] = {
    "stale_checksum": stale, "damaged": damaged, "truncate": cut, "slow": slow, "row": differing, "lost_rows": lost,
    "403": status(403), "404": status(404), "503": status(503), "header": headed, "no_header": in_milliseconds,
    "milliseconds": in_milliseconds,
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(DUMP_FAULT_KINDS))
async def test_each_fault(files: Files, sim: Sim, kind: str) -> None:
    sim.control.dump_fault(kind, contains="-2023-10.zip.CHECKSUM" if kind == "stale_checksum" else "")
    await FAULTS[kind](files)
    sim.control.reset()
    assert (await files.lines(OCTOBER))[0].startswith(b"16")


async def test_a_chosen_row(files: Files, sim: Sim) -> None:
    whole = await files.lines(OCTOBER)
    opens = [int(line.split(b",")[0]) for line in whole]
    sim.control.dump_fault("lost_rows", open_ms=opens[5], rows=2)
    sim.control.dump_fault("row", open_ms=opens[9])
    sim.control.dump_fault("lost_rows", open_ms=T0)  # in no file of October
    lines = await files.lines(OCTOBER)
    assert lines[:5] + lines[5:7] == whole[:5] + whole[7:9]
    assert (lines[7] != whole[9], lines[8:]) == (True, whole[10:])


def test_names_of_all_kinds() -> None:
    for market, folder in (("spot", "spot"), ("usdm", "futures/um"), ("coinm", "futures/cm")):
        for period, (size, interval) in itertools.product(
            ("daily", "monthly"), (("1mo", "1M"), ("1m", "1m"), ("3d", "3d"))
        ):
            day = "-31" if period == "daily" else ""
            name = parse(f"data/{folder}/{period}/klines/A_1/{size}/A_1-{size}-2024-12{day}.zip")
            if period == "daily" and size != "1m":
                assert name is None
                continue
            assert name is not None
            assert (name.market, name.symbol, name.interval) == (market, "A_1", interval)
            assert name.end_ms == 1_735_689_600_000
            assert name.stem == f"A_1-{size}-2024-12{day}"
