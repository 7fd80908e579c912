"""An unforeseen exception ends no background work: it is reported, and the work goes on after a pause."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from mdcache.background_work import supervise
from mdcache.cache.idle_blocks import IdleBlocks
from mdcache.candles.block import Block, BlockCodec, CompressedBlock
from mdcache.daemon.summaries import Summaries
from mdcache.events import BackgroundTask, BackgroundTaskFailed, Event, Events, Summary
from mdcache.exchange.markets import Family
from mdcache.serving.ops.recent_calls import CallCounts
from mdcache.sim import SimConfig
from mdcache.stores import block_codec
from mdcache.stores.disk.gate_file import GateFile
from mdcache.stores.redis.channel import Channel
from mdcache.stores.redis.client import RedisClient
from mdcache.stores.redis.purges import PurgeLog
from tests.support.fake_exchange import refuse
from tests.support.governor_replicas import GovernorReplicas
from tests.support.virtual_daemon import InlineExecutor, VirtualDaemon
from tests.support.virtual_time import VirtualClock

pytestmark = pytest.mark.virtual

PLENTY = SimConfig(spot_limit=1_000_000)
SPOT = "/api/v3/klines"


class Once:
    """Raises at the first call, or at that after `sound` ones; otherwise calls what it stands for."""

    def __init__(self, call: Callable[..., Any], sound: int = 0) -> None:
        self.calls = -sound
        self._call = call

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        if self.calls == 1:
            raise ZeroDivisionError("odd")
        return self._call(*args, **kwargs)


def failures(events: Iterable[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, BackgroundTaskFailed)]


def failed_once(task: BackgroundTask) -> list[Event]:
    return [BackgroundTaskFailed(task, "ZeroDivisionError: odd")]


async def test_work_that_fails_goes_on_after_a_pause() -> None:
    clock, events = VirtualClock(), list[Event]()
    began_s, tries_s = clock.now(), list[float]()

    async def work() -> None:
        tries_s.append(clock.now() - began_s)
        if len(tries_s) == 4:
            await clock.sleep(60.0)
        if len(tries_s) < 5:
            raise ZeroDivisionError("odd")

    await supervise(BackgroundTask.SYMBOLS, work, clock, Events(events.append))
    assert tries_s == pytest.approx([0.0, 1.0, 3.0, 7.0, 68.0])
    assert events == failed_once(BackgroundTask.SYMBOLS) * 4


async def test_work_that_is_cancelled_ends() -> None:
    clock, events = VirtualClock(), list[Event]()
    task = supervise(BackgroundTask.SYMBOLS, lambda: clock.sleep(60.0), clock, Events(events.append))
    await clock.sleep(1.0)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert events == []


async def test_blocks_are_compressed_after_one_that_could_not_be() -> None:
    class OddCodec(BlockCodec):
        def __init__(self) -> None:
            self._encode = Once(block_codec.encode)

        def encode(self, block: Block) -> bytes:
            encoded: bytes = self._encode(block)
            return encoded

        def decode(self, index: int, payload: bytes) -> Block:
            return block_codec.decode(index, payload)

    w = VirtualDaemon(PLENTY)
    idle = IdleBlocks(w.library, OddCodec(), InlineExecutor(), w.clock, w.bus)
    idle.start()
    start = w.clock.true_ms() // 60_000 * 60_000 - 30 * 86_400_000
    await w.ask(SPOT, f"symbol=BTCUSDT&interval=1m&startTime={start}&limit=1000")
    await w.clock.sleep(700.0)
    assert failures(w.events) == failed_once(BackgroundTask.IDLE_BLOCKS)
    blocks = [block for series in w.library for block in series.blocks._blocks.values()]
    assert sum(isinstance(block, CompressedBlock) for block in blocks) >= len(blocks) - 1 >= 1


async def test_series_are_saved_after_one_that_could_not_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    w = VirtualDaemon(PLENTY, folder=tmp_path)
    assert w.state.disk is not None
    save = Once(w.state.disk.save)
    monkeypatch.setattr(w.state.disk, "save", save)
    now = w.clock.true_ms()
    for symbol in ("BTCUSDT", "ETHUSDT"):
        await w.ask(SPOT, f"symbol={symbol}&interval=1m&startTime={now - 86_400_000}&limit=10")
    await w.clock.sleep(10.0)
    assert failures(w.events) == failed_once(BackgroundTask.SAVE)
    assert save.calls == 2


async def test_a_gate_that_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    clock, events = VirtualClock(), list[Event]()
    path = tmp_path / "gates.json"
    saved = Once(lambda: {"spot": 1})
    gates = GateFile(path, "default", {}, saved, InlineExecutor(), clock, Events(events.append))
    gates.changed(gate=True)
    await clock.sleep(20.0)
    assert failures(events) == failed_once(BackgroundTask.GATE_FILE)
    assert b"spot" in path.read_bytes()
    await gates.aclose(1.0)


async def test_a_gate_is_written_also_when_its_folder_was_removed(tmp_path: Path) -> None:
    clock, path = VirtualClock(), tmp_path / "state" / "gates.json"
    gates = GateFile(path, "default", {}, lambda: {"spot": 1}, InlineExecutor(), clock, Events())
    gates.changed(gate=True)
    await clock.sleep(5.0)
    assert b"spot" in path.read_bytes()
    assert not gates.trouble
    await gates.aclose(1.0)


async def test_symbols_are_loaded_after_a_load_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    w = VirtualDaemon(PLENTY, folder=tmp_path)
    query = "symbol=BTCUSDT&interval=1m&limit=5"
    await w.ask(SPOT, query)
    await w.aclose()
    w.restart()
    assert w.state.bodies is not None
    load = Once(w.state.bodies.load)
    monkeypatch.setattr(w.state.bodies, "load", load)
    w.exchange.log.clear()
    await w.ask(SPOT, query)  # is not delayed by the failure: the document is read
    assert any(entry.path.endswith("exchangeInfo") for entry in w.exchange.log)
    await w.clock.sleep(20.0)
    assert failures(w.events) == failed_once(BackgroundTask.SYMBOLS)
    assert load.calls > 1


async def test_redis_is_probed_after_a_probe_that_failed() -> None:
    pings: list[Exception] = [OSError("down"), ZeroDivisionError("odd")]

    class Client:
        async def ping(self) -> None:
            raise pings.pop(0) if pings else OSError("still down")

        async def aclose(self) -> None:
            return

    clock, events = VirtualClock(), list[Event]()
    client = RedisClient(Client, prefix="", timeout_s=0.25, clock=clock, events=Events(events.append))
    await client.start()
    await clock.sleep(30.0)
    assert failures(events) == failed_once(BackgroundTask.REDIS_PROBE)
    assert "still down" in client.trouble
    await client.aclose()


async def test_a_series_is_written_after_a_write_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    w = VirtualDaemon(PLENTY, folder=tmp_path)
    assert w.state.disk is not None
    begin = Once(w.state.disk._pending.begin)
    monkeypatch.setattr(w.state.disk._pending, "begin", begin)
    await w.ask(SPOT, "symbol=BTCUSDT&interval=1m&limit=500")
    await w.clock.sleep(10.0)
    assert failures(w.events) == failed_once(BackgroundTask.ROW_STORE)
    assert begin.calls > 1
    assert w.state.disk.status()["waiting_series"] == 0


async def test_a_minute_is_summed_up_after_one_that_could_not_be() -> None:
    clock, events = VirtualClock(), list[Event]()
    requests = Once(dict[str, int], sound=2)  # at the start
    summaries = Summaries(clock, Events(events.append), requests, lambda: CallCounts(0, 0, 0))
    summaries.start()
    await clock.sleep(130.0)
    assert failures(events) == failed_once(BackgroundTask.SUMMARIES)
    assert any(isinstance(event, Summary) for event in events)


async def test_purges_are_polled_after_a_poll_that_failed() -> None:
    clock, events = VirtualClock(), list[Event]()
    poll = Once(list[bytes])

    class Client(RedisClient):
        async def call(self, *_: object) -> Any:
            return poll()

    client = Client(lambda: None, prefix="", timeout_s=0.25, clock=clock, events=Events(events.append))
    purges = PurgeLog(client, Channel(client), clock, Events(events.append))
    purges.start()
    await clock.sleep(10.0)
    assert failures(events) == failed_once(BackgroundTask.PURGES)
    assert poll.calls > 1
    await purges.aclose()


def fail_once(then: Callable[[], object] = lambda: None) -> Callable[[], Awaitable[None]]:
    once = Once(then)

    async def wait() -> None:
        once()

    return wait


@pytest.mark.parametrize("asked", [False, True])
async def test_a_replica_reports_and_draws_after_a_message_that_failed(*, asked: bool) -> None:
    fleet = GovernorReplicas(share=100)
    replica = await fleet.replica()
    await fleet.minutes(2)
    reported = list[float]()
    replica.budgets[Family.SPOT].wait = fail_once(lambda: reported.append(fleet.clock.now()))
    if asked:
        assert await replica.read(cost=60, within_s=3.0) == "ok"
    await fleet.clock.sleep(5.0)
    assert failures(replica.events) == failed_once(BackgroundTask.SHARED_BUDGET)
    assert reported


async def test_a_replica_writes_the_gate_after_a_write_that_failed() -> None:
    fleet = GovernorReplicas(share=100)
    one, other = [await fleet.replica() for _ in range(2)]
    await fleet.minutes(2)
    await fleet.clock.sleep(0.05)
    one.budgets[Family.SPOT].wait = fail_once()
    fleet.exchange.fault = lambda *_: refuse(418, retry_after="60")
    assert await one.read(cost=1) == "GateClosed"
    await fleet.clock.sleep(5.0)
    assert failures(one.events) == failed_once(BackgroundTask.SHARED_GATE)
    assert other.gate() == "closed"
