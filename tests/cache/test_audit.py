"""Audits: what is kept is read again, and what differs is mended, if Binance really shows it."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mdcache.cache.audit import AuditProgress
from mdcache.cache.job import UNFINISHED_STATES, JobState
from mdcache.candles.persistence import SeriesFilter
from mdcache.events import AuditVerdict, RowRevised, RowsAudited
from mdcache.exchange.markets import Market
from mdcache.upstream.governor import GovernorSettings
from tests.support.edited_rows import PageRequest, PrintedRows, edit_rows
from tests.support.virtual_daemon import DaemonOptions, VirtualDaemon, few_symbols, ready, rows
from tests.support.virtual_replicas import virtual_replicas

pytestmark = pytest.mark.virtual

SPOT = "/api/v3/klines"
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
ALL = SeriesFilter()


def world(folder: Path | None = None, **options: Any) -> VirtualDaemon:
    config = few_symbols("BTCUSDT", "ETHUSDT", "BTCUSD_PERP")
    w = VirtualDaemon(config, DaemonOptions(limits=GovernorSettings(weight_share=0.9), **options), folder)
    w.exchange.control.latency(before_s=0.1)
    return w


async def fill(w: VirtualDaemon, path: str = SPOT, symbol: str = "BTCUSDT", *, limit: int = 500) -> str:
    """Have a page of history; return its query."""
    start_ms = w.clock.true_ms() // DAY * DAY - 9 * DAY
    query = f"symbol={symbol}&interval=1m&startTime={start_ms}&endTime={start_ms + limit * MINUTE - 1}&limit={limit}"
    await w.ask(path, query)
    return query


def revise(w: VirtualDaemon, query: str, at: int = 7, *, path: str = SPOT, **changes: Any) -> int:
    """Change a row of that page at the exchange; return when it opens."""
    values = dict(part.split("=") for part in query.split("&"))
    open_ms = int(values["startTime"]) + at * MINUTE
    w.exchange.control.revise(path, values["symbol"], "1m", open_ms, **({"volume": "0.5"} | changes))
    return open_ms


async def done(w: VirtualDaemon, want: Callable[[AuditProgress], bool] | None = None) -> AuditProgress:
    """The job, once it has ended."""
    stop = want or (lambda found: found.state not in UNFINISHED_STATES)
    began = w.clock.now()
    while not stop(found := w.audit.progress()):
        assert w.clock.now() - began < 3_600, found
        await w.clock.sleep(0.02)
    return found


async def audit(w: VirtualDaemon, count: int = 5_000, which: SeriesFilter = ALL) -> AuditProgress:
    """Read so many rows again."""
    assert w.audit.start(which, count)
    return await done(w)


def verdicts(**found: int) -> dict[str, int]:
    return dict.fromkeys(map(str, AuditVerdict), 0) | found


def audited(w: VirtualDaemon) -> dict[str, int]:
    """What the events say."""
    found = verdicts()
    for event in w.events:
        if isinstance(event, RowsAudited):
            found[event.verdict] += event.rows
    return found


async def test_what_is_equal_stays_and_is_counted() -> None:
    w = await ready(world())
    query = await fill(w)
    since = len(w.calls())
    found = await audit(w)
    assert (found.state, found.detail, found.differences, found.errors) == (JobState.DONE, "", (), {})
    assert found.rows_asked > found.rows >= 500  # all rows that are kept, and the smaller series of `ready`
    assert found.verdicts == audited(w) == verdicts(same=found.rows)
    calls = w.calls(since)
    assert found.weight == 2 * len(calls)
    assert len(calls) == len(set(calls)) == 6  # two blocks of minutes, and one of days
    assert w.event_count(RowRevised) == 0
    assert (await w.ask(SPOT, query)).rows == 500
    assert w.calls(since) == calls


async def test_a_page_that_ends_early_proves_nothing_about_its_end() -> None:
    w = world()
    edited = edit_rows(w)
    await ready(w)
    query = await fill(w)
    before = await w.ask(SPOT, query)
    edited.edit = lambda _, printed: printed[:-1] or printed
    found = await audit(w, which=SeriesFilter(interval="1m"))
    assert found.verdicts == verdicts(same=997, unconfirmed=3)  # the last ones of three windows
    edited.edit = None
    assert (await w.ask(SPOT, query)).body == before.body
    assert w.event_count(RowRevised) == 0


PAGES = [(SPOT, "BTCUSDT"), ("/fapi/v1/klines", "BTCUSDT"), ("/dapi/v1/klines", "BTCUSD_PERP")]


@pytest.mark.parametrize(("path", "symbol"), PAGES)
async def test_a_changed_row_is_found_and_mended(tmp_path: Path, path: str, symbol: str) -> None:
    w = await ready(world(tmp_path), symbol, path)
    query = await fill(w, path, symbol)
    before = await w.ask(path, query)
    open_ms = revise(w, query, path=path)
    truth = w.exchange.truth(path, query, at_ms=w.clock.true_ms())
    assert before.body != truth
    found = await audit(w)
    assert found.state is JobState.DONE
    assert (found.verdicts["different"], found.verdicts["unconfirmed"]) == (1, 0)
    (difference,) = found.differences
    assert (difference.open_time_ms, difference.verdict) == (open_ms, AuditVerdict.DIFFERENT)
    assert difference.series.endswith(f"m/klines/{symbol}/1m" if path != SPOT else "spot/klines/BTCUSDT/1m")
    assert difference.was.encode() in before.body
    assert difference.now.encode() in truth
    assert not before.is_current()
    since = len(w.calls())
    assert (await w.ask(path, query)).body == truth
    assert w.event_count(RowRevised) == 1
    await w.aclose()
    w.restart()
    assert (await w.ask(path, query)).body == truth  # the disk has it, too
    assert w.calls(since) == []
    again = await audit(w)
    assert again.verdicts == verdicts(same=again.rows)


async def test_what_is_only_on_disk_is_audited(tmp_path: Path) -> None:
    w = await ready(world(tmp_path))
    query = await fill(w)
    revise(w, query)
    await w.aclose()
    w.restart()
    assert len(w.library) == 0
    found = await audit(w)
    assert found.verdicts["different"] == 1
    assert (await w.ask(SPOT, query)).body == w.exchange.truth(SPOT, query, at_ms=w.clock.true_ms())


async def test_rows_that_came_or_went() -> None:
    w = world()
    edited = edit_rows(w)
    await ready(w)
    query = await fill(w)
    start_ms = int(query.split("startTime=")[1].split("&")[0])
    lost = start_ms + 5 * MINUTE

    def gone(_: PageRequest, printed: PrintedRows) -> PrintedRows:
        return [row for row in printed if row[0] != lost]

    edited.edit = gone
    found = await audit(w)
    assert found.verdicts == verdicts(same=found.rows - 1, gone=1)
    assert [(one.open_time_ms, one.now) for one in found.differences] == [(lost, "")]
    assert [row[0] for row in rows(await w.ask(SPOT, query))].count(lost) == 0
    edited.edit = None
    found = await audit(w)
    assert found.verdicts["missing"] == 1
    assert [(one.open_time_ms, one.was) for one in found.differences] == [(lost, "")]
    assert (await w.ask(SPOT, query)).body == w.exchange.truth(SPOT, query, at_ms=w.clock.true_ms())


KINDS = [
    ("/api/v3/uiKlines", "symbol=BTCUSDT&interval=1m&limit=1000", {}),
    ("/api/v3/klines", "symbol=BTCUSDT&interval=1d&limit=1000&timeZone=8", {}),
    ("/api/v3/klines", "symbol=BTCUSDT&interval=15m&limit=1000", {"x-mbx-time-unit": "MICROSECOND"}),
    ("/api/v3/klines", "symbol=BTCUSDT&interval=1m&limit=1000&startTime=1518049000000", {}),  # a halt, off the grid
    ("/api/v3/klines", "symbol=BTCUSDT&interval=3d&limit=1000", {}),
    ("/api/v3/klines", "symbol=BTCUSDT&interval=1M&limit=1000&startTime=0", {}),
    ("/fapi/v1/continuousKlines", "pair=BTCUSDT&contractType=PERPETUAL&interval=1h&limit=1500", {}),
    ("/fapi/v1/premiumIndexKlines", "symbol=BTCUSDT&interval=1d&limit=1500", {}),
    ("/dapi/v1/klines", "symbol=BTCUSD_PERP&interval=1d&limit=1500", {}),  # windows of 200 days
    ("/dapi/v1/klines", "symbol=BTCUSD_PERP&interval=1M&limit=1500", {}),
    ("/dapi/v1/indexPriceKlines", "pair=BTCUSD&interval=1w&limit=1500", {}),
]


@pytest.mark.exhaustive
async def test_all_kinds_of_series_are_read_again_as_they_are(tmp_path: Path) -> None:
    w = await ready(world(tmp_path))
    for path, query, headers in KINDS:
        await w.ask(path, query, headers=headers)
    for count in (1_000_000, 50):
        found = await audit(w, count)
        assert (found.state, found.verdicts) == (JobState.DONE, verdicts(same=found.rows))
    await w.aclose()
    w.restart()
    again = await audit(w, 1_000_000)
    assert again.verdicts == verdicts(same=again.rows)
    assert again.rows > 8_000


async def test_one_read_alone_changes_nothing() -> None:
    w = world()
    edited = edit_rows(w)
    await ready(w)
    query = await fill(w)
    before = await w.ask(SPOT, query)
    seen: list[PageRequest] = []

    def first_time(page: PageRequest, printed: PrintedRows) -> PrintedRows:
        seen.append(page)
        again = seen.count(page) > 1
        return printed if again else [[*row[:5], "99.00000000", *row[6:]] for row in printed]

    edited.edit = first_time
    found = await audit(w, 100)
    assert found.verdicts["unconfirmed"] > 0
    assert found.verdicts["different"] == 0
    assert {one.verdict for one in found.differences} == {AuditVerdict.UNCONFIRMED}
    edited.edit = None
    assert (await w.ask(SPOT, query)).body == before.body
    assert w.event_count(RowRevised) == 0


@pytest.mark.parametrize(
    "kind", ["empty", "crossed", "outside", "disorder", "doubled", "numbers", "503", "timeout", "html"]
)
async def test_an_outage_or_a_broken_body_mends_nothing(kind: str) -> None:
    w = await ready(world())
    query = await fill(w)
    before = await w.ask(SPOT, query)
    w.exchange.control.fault(kind, path=SPOT)
    found = await audit(w)
    assert found.state is JobState.STOPPED
    assert found.detail == "3 failures in a row" or "closed" in found.detail
    assert found.rows == found.verdicts["unconfirmed"] == 0
    w.exchange.control.clear_faults()
    assert (await w.ask(SPOT, query)).body == before.body
    assert before.is_current()


async def test_a_ban_ends_the_job_and_changes_nothing() -> None:
    w = await ready(world())
    query = await fill(w)
    before = await w.ask(SPOT, query)
    assert w.audit.start(ALL, 5_000)
    await done(w, lambda found: found.rows > 100)
    revise(w, query)
    w.exchange.control.ban("spot", 300)
    found = await done(w)
    assert found.state is JobState.STOPPED
    assert "418" in found.detail
    assert found.verdicts == verdicts(same=found.rows)
    since = len(w.calls())
    assert (await audit(w)).state is JobState.STOPPED  # at once
    assert w.calls(since) == []
    assert (await w.ask(SPOT, query)).body == before.body


async def test_a_spent_share_is_waited_for() -> None:
    w = await ready(world())
    await fill(w)
    limit = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 40}
    w.governor.set_limits(Market.SPOT, [limit])
    assert w.audit.start(ALL, 5_000)
    waits = await done(w, lambda found: found.state is JobState.WAITING)
    assert waits.detail == "the weight budget is spent"
    found = await done(w)
    assert (found.state, found.detail, found.verdicts["same"]) == (JobState.DONE, "", found.rows)
    assert found.seconds > 20


async def test_one_job_at_a_time_and_its_end() -> None:
    w = await ready(world())
    await fill(w)
    assert w.audit.progress() == AuditProgress()
    assert w.audit.start(ALL, 5_000)
    assert not w.audit.start(ALL, 5_000)
    await done(w, lambda found: found.weight > 0)
    await w.audit.cancel()
    assert w.audit.progress().state is JobState.CANCELLED
    assert w.audit.start(ALL, 5_000)
    await asyncio.sleep(0)
    await w.aclose()
    assert w.audit.progress().state is JobState.CANCELLED


async def test_what_is_not_kept_or_not_final() -> None:
    w = await ready(world())
    found = await audit(w, 10, SeriesFilter(Market.SPOT, "NONEUSDT"))
    assert (found.state, found.detail, found.rows_asked) == (
        JobState.STOPPED,
        "no final rows of this are kept",
        10,
    )
    await fill(w)
    found = await audit(w, 10, SeriesFilter(interval="1m"))
    assert (found.state, found.rows) == (JobState.DONE, 10)
    assert len(w.calls()) == 12  # with the one of `ready`, and the page: ten windows of one row


async def test_a_schedule_reads_so_many_rows_an_hour() -> None:
    w = await ready(world(audit_rows_per_hour=1_000))
    await fill(w)
    since = len(w.calls())
    await w.clock.sleep(2 * 3_600)
    assert 1_800 <= audited(w)["same"] <= 2_100
    assert 18 <= len(w.calls(since)) <= 30
    w.governor.close_gate(Market.SPOT.family, 3_600)
    since = len(w.calls())
    await w.clock.sleep(3_500)
    assert w.calls(since) == []
    await w.clock.sleep(3_600)
    assert len(w.calls(since)) >= 8
    assert w.audit.progress().state is JobState.IDLE


async def test_nothing_is_read_again_unless_asked_for() -> None:
    w = await ready(world())
    await fill(w)
    since = len(w.calls())
    await w.clock.sleep(3_600)
    assert w.calls(since) == []


async def test_replicas_learn_what_one_found() -> None:
    one, other = await virtual_replicas(2)
    query = await fill(one)
    before = await other.ask(SPOT, query)
    revise(one, query)
    assert (await audit(one)).verdicts["different"] == 1
    await one.clock.sleep(5)
    await other.ask(SPOT, "symbol=BTCUSDT&interval=1m&limit=5")
    truth = one.exchange.truth(SPOT, query, at_ms=one.clock.true_ms())
    assert before.body != truth
    assert (await other.ask(SPOT, query)).body == truth
    assert len([call for call in other.calls() if "limit=500" in call]) <= 1


async def test_a_series_that_is_polled_meanwhile_is_mended() -> None:
    w = await ready(world(ttl_s=0.05))
    query = await fill(w)
    open_ms = revise(w, query)

    async def poll() -> None:
        while True:
            await w.ask(SPOT, "symbol=BTCUSDT&interval=1m&limit=5")
            await w.clock.sleep(0.03)

    polling = asyncio.create_task(poll())
    found = await audit(w)
    polling.cancel()
    assert [(one.open_time_ms, one.verdict) for one in found.differences] == [(open_ms, AuditVerdict.DIFFERENT)]
    assert (await w.ask(SPOT, query)).body == w.exchange.truth(SPOT, query, at_ms=w.clock.true_ms())
