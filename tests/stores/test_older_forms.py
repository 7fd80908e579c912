"""A state directory and a Redis of the first release: none of their data is served, and one line reports each."""

import base64
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mdcache.candles.replication import SeriesState
from mdcache.candles.shared_rows import PullResult
from mdcache.events import Event
from mdcache.sim import SimConfig
from mdcache.store_events import TierFailed, TierStateChanged
from mdcache.stores.disk.inspection import InspectionFailed, inspect_rows
from tests.support.redis_row_store import INDEX, block, pull, push, redis_row_store
from tests.support.redis_servers import RedisServer, running_redis
from tests.support.virtual_daemon import VirtualDaemon

V1 = Path(__file__).parent.parent / "fixtures" / "v1"
SPOT = "/api/v3/klines"
MINUTE = 60_000
OLD_START = 1_793_795_340_000 - 700 * MINUTE  # of the twelve rows in `candles.sql`


def old_file(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "candles.db")) as db:
        db.executescript((V1 / "candles.sql").read_text())


def failures(events: list[Event]) -> list[TierFailed]:
    return [event for event in events if isinstance(event, TierFailed)]


@pytest.mark.virtual
async def test_an_old_file_is_set_aside_and_its_rows_are_read_anew(tmp_path: Path) -> None:
    old_file(tmp_path)
    w = VirtualDaemon(SimConfig(spot_limit=1_000_000), folder=tmp_path)
    query = f"symbol=BTCUSDT&interval=1m&startTime={OLD_START}&endTime={OLD_START + 11 * MINUTE}"
    answer = await w.ask(SPOT, query)
    assert b'"1.00","3.00","1.00","2.00"' not in answer.body
    assert answer.body == w.exchange.truth(SPOT, query, at_ms=answer.as_of_ms)
    (told,) = failures(w.events)
    assert told.lost
    assert "has version 1" in told.detail
    assert "candles.db.old" in told.detail
    assert not [event for event in w.events if isinstance(event, TierStateChanged)]
    await w.aclose()
    with closing(sqlite3.connect(tmp_path / "candles.db.old")) as db:
        assert db.execute("SELECT base_rows + young_rows FROM span").fetchall() == [(12,)]
    w.events.clear()
    w.restart()
    calls = len(w.calls())
    assert (await w.ask(SPOT, query)).body == answer.body
    assert (len(w.calls()), failures(w.events)) == (calls, [])


def test_inspecting_an_old_file_reports_that_it_is_old(tmp_path: Path) -> None:
    old_file(tmp_path)
    before = (tmp_path / "candles.db").read_bytes()
    with pytest.raises(InspectionFailed, match="version 1, that of an earlier release"):
        inspect_rows(tmp_path, verify=True)
    assert (tmp_path / "candles.db").read_bytes() == before


def fill(server: RedisServer) -> None:
    client = server.client()
    for key, value in json.loads((V1 / "redis.json").read_text()).items():
        if isinstance(value, dict):
            fields = {base64.b64decode(name): base64.b64decode(content) for name, content in value.items()}
            client.hset(key, mapping=fields)
        elif isinstance(value, list):
            client.rpush(key, *map(base64.b64decode, value))
        else:
            client.set(key, base64.b64decode(value))


@pytest.mark.processes
async def test_keys_of_the_first_form_are_left_alone() -> None:
    with running_redis() as server:
        fill(server)
        before = server.client().dbsize()
        events: list[Event] = []
        async with redis_row_store(server.url, events) as rows:
            (told,) = failures(events)
            assert "mdcache:v1:" in told.detail
            index = OLD_START // (1000 * MINUTE)
            found = await pull(rows, index)
            assert (found.state.blocks, found.state.tail, found.last_purge) == ({}, None, b"")
            assert (await push(rows, PullResult(), SeriesState(blocks={INDEX: block()}))).pushed
            assert (await pull(rows, INDEX)).state.blocks.keys() == {INDEX}
            await rows.apply_missed_purges()
        assert failures(events) == [told]
        assert len(server.client().keys("mdcache:v1:*")) == before


@pytest.mark.processes
async def test_a_redis_without_them_is_no_news() -> None:
    events: list[Event] = []
    with running_redis() as server:
        for _ in range(2):
            async with redis_row_store(server.url, events) as rows:
                await push(rows, PullResult(), SeriesState(blocks={INDEX: block()}))
    assert failures(events) == []
