"""A ban outlives the process: nothing is sent until its end, then one probe (docs/design.md#gate-persistence)."""

import asyncio
import json
from contextlib import suppress
from pathlib import Path

import pytest

from mdcache.errors import GateClosed, Refusal
from mdcache.exchange.markets import Market
from mdcache.sim import SimConfig
from mdcache.store_events import TierFailed
from mdcache.upstream.governor import GovernorSettings
from mdcache.upstream.priority import Lane
from tests.support.virtual_daemon import DaemonOptions, VirtualDaemon

pytestmark = pytest.mark.virtual

SPOT = "/api/v3/klines"
TAIL = "symbol=BTCUSDT&interval=1m&limit=5"
DAY = 86_400_000


def requests(w: VirtualDaemon) -> int:
    return len(w.exchange.log)


async def banned(folder: Path, seconds: float = 600.0) -> VirtualDaemon:
    """A world that met a ban just now, and whose process was killed in the second after."""
    w = VirtualDaemon(SimConfig(), DaemonOptions(), folder)
    await w.ask(SPOT, TAIL)
    await w.clock.sleep(5.0)
    w.exchange.control.ban("spot", seconds)
    with pytest.raises(GateClosed):
        await w.ask(SPOT, "symbol=ETHUSDT&interval=1m&limit=5")
    await w.clock.sleep(0.05)
    await w.kill()
    return w


async def quiet(w: VirtualDaemon, seconds: float, step_s: float = 7.0) -> None:
    """Asked all the time, it asks Binance nothing for so long."""
    before, end = requests(w), w.clock.now() + seconds
    while w.clock.now() < end:
        with pytest.raises(GateClosed):
            await w.ask(SPOT, TAIL)
        await w.clock.sleep(min(step_s, max(0.01, end - w.clock.now())))
    assert requests(w) == before


@pytest.mark.parametrize("boot", ["first", "second"])
async def test_nothing_is_asked_until_the_end_then_one_probe(tmp_path: Path, boot: str) -> None:
    w = await banned(tmp_path)
    w.options.boot = boot
    w.restart()
    await quiet(w, 595.0)
    await w.clock.sleep(15.0)
    before = requests(w)
    w.exchange.control.latency(before_s=1.0)
    asking = [asyncio.create_task(w.ask(SPOT, f"symbol={s}USDT&interval=1m")) for s in ("BTC", "ETH", "SOL")]
    await asyncio.sleep(1.5)
    assert requests(w) == before + 1
    await asyncio.gather(*asking, return_exceptions=True)
    await w.clock.sleep(10.0)
    assert (await w.ask(SPOT, TAIL)).rows == 5


@pytest.mark.parametrize(
    ("slept_s", "step_ms", "boot"),
    [
        pytest.param(300.0, -3_600_000, "second", id="a clock that was set back only lengthens the wait"),
        pytest.param(0.0, 3 * DAY, "first", id="a step of the wall is nothing where the machine did not boot"),
    ],
)
async def test_a_step_of_the_wall_clock_shortens_no_ban(
    tmp_path: Path, slept_s: float, step_ms: int, boot: str
) -> None:
    w = await banned(tmp_path)
    await w.clock.sleep(slept_s)
    w.clock.step_ms, w.options.boot = step_ms, boot
    w.restart()
    await quiet(w, 590.0)
    await w.clock.sleep(30.0)
    assert (await w.ask(SPOT, TAIL)).rows == 5


async def test_restarts_do_not_lengthen_a_ban(tmp_path: Path) -> None:
    w = await banned(tmp_path, 120.0)
    for _ in range(20):
        w.restart()
        with pytest.raises(GateClosed):
            await w.ask(SPOT, TAIL)
        await w.clock.sleep(5.0)
        await w.kill()
    w.restart()
    await w.clock.sleep(30.0)
    assert (await w.ask(SPOT, TAIL)).rows == 5


@pytest.mark.parametrize("step_ms", [0, 47_000, -47_000])
@pytest.mark.parametrize("restarts", [0, 1, 3])
async def test_a_short_ban_met_by_the_first_read_is_over_when_it_says(
    tmp_path: Path, step_ms: int, restarts: int
) -> None:
    w = VirtualDaemon(SimConfig(), DaemonOptions(wall_step_ms=step_ms), tmp_path)
    w.exchange.control.ban("spot", 14.0)
    began_s = w.clock.now()
    with pytest.raises(GateClosed) as caught:
        await w.ask(SPOT, TAIL)
    assert 14 <= caught.value.retry_after_s <= 17.5
    for _ in range(restarts):
        await w.clock.sleep(1.0)
        await w.kill()
        w.restart()
        with pytest.raises(GateClosed):
            await w.ask(SPOT, TAIL)
    while w.governor.refusal_now(Market.SPOT, Lane.NORMAL, 2) is not None:
        await w.clock.sleep(0.1)
    assert 14 <= w.clock.now() - began_s <= 20
    with suppress(GateClosed):  # only one of the first reads is the probe
        await w.ask(SPOT, TAIL)
    await w.clock.sleep(0.5)
    assert (await w.ask(SPOT, TAIL)).rows == 5
    assert w.clock.now() - began_s <= 22


async def test_a_ban_belongs_to_its_egress(tmp_path: Path) -> None:
    w = await banned(tmp_path)
    w.exchange.control.unban()
    w.options.egress = "another"
    w.restart()
    assert (await w.ask(SPOT, TAIL)).rows == 5
    await w.aclose()
    w.options.egress = "default"
    w.restart()
    await quiet(w, 100.0)


@pytest.mark.parametrize("step_ms", [0, -3_600_000, 3_600_000])
async def test_symbols_and_settled_rows_are_known_inside_a_ban(tmp_path: Path, step_ms: int) -> None:
    w = VirtualDaemon(SimConfig(), DaemonOptions(), tmp_path)
    now = w.clock.true_ms()
    old = f"symbol=BTCUSDT&interval=1h&startTime={now - 30 * DAY}&endTime={now - 20 * DAY}"
    before = await w.ask(SPOT, old)
    w.exchange.control.ban("spot", 600.0)
    with pytest.raises(GateClosed):
        await w.ask(SPOT, TAIL)
    await w.clock.sleep(1.0)
    await w.kill()
    w.clock.step_ms = step_ms
    w.restart()
    asked = requests(w)
    answer = await w.ask(SPOT, old)
    assert answer.body == before.body
    assert w.clock.true_ms() - 120_000 < answer.as_of_ms <= w.clock.true_ms()  # whatever the wall clock says
    with pytest.raises(Refusal):
        await w.ask("/fapi/v1/klines", "symbol=NOPE&interval=1m")
    assert not [entry for entry in list(w.exchange.log)[asked:] if entry.path.startswith("/api")]
    for query in (
        TAIL,
        "symbol=BTCUSDT&interval=1h",
        f"symbol=BTCUSDT&interval=1h&startTime={now - 25 * DAY}&limit=1000",
    ):
        with pytest.raises(GateClosed):
            await w.ask(SPOT, query)
    with pytest.raises(GateClosed):
        await w.ask(SPOT, "symbol=NOPE&interval=1m")  # it may be new: only Binance knows


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"version":1,"egress":{"default":{"spot":{}}}}', b'{"version":1,"egress":{"default":7}}'],
)
async def test_an_unreadable_file_starts_with_a_probe(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "gates.json").write_bytes(content)
    w = VirtualDaemon(SimConfig(), DaemonOptions(), tmp_path)
    assert [type(event) for event in w.state.startup_events] == [TierFailed]
    w.exchange.control.latency(before_s=1.0)
    asking = [asyncio.create_task(w.ask(SPOT, f"symbol={s}USDT&interval=1m")) for s in ("BTC", "ETH", "SOL")]
    await asyncio.sleep(1.5)
    assert requests(w) == 1
    await asyncio.gather(*asking, return_exceptions=True)
    await w.clock.sleep(10.0)
    assert (await w.ask(SPOT, TAIL)).rows == 5
    await w.aclose()
    assert json.loads((tmp_path / "gates.json").read_bytes())["egress"]["default"]["spot"]["gate"]["state"] == "open"


async def test_a_newer_file_is_left_as_it_is(tmp_path: Path) -> None:
    content = b'{"version":2,"anything":1}'
    (tmp_path / "gates.json").write_bytes(content)
    w = VirtualDaemon(SimConfig(), DaemonOptions(), tmp_path)
    await w.ask(SPOT, TAIL)
    await w.clock.sleep(5.0)
    await w.aclose()
    assert (tmp_path / "gates.json").read_bytes() == content


@pytest.mark.exhaustive
async def test_what_this_minute_has_spent_is_remembered(tmp_path: Path) -> None:
    w = VirtualDaemon(SimConfig(), DaemonOptions(limits=GovernorSettings(weight_share=0.5)), tmp_path)
    await w.ask(SPOT, TAIL)
    for n in range(40):
        await w.ask(SPOT, f"symbol=BTCUSDT&interval=1m&startTime={1_700_000_000_000 + n * 60_000_000}&limit=9")
    used = next(family.used for family in w.governor.status() if family.family == "spot")
    assert used > 80
    await w.clock.sleep(1.5)
    await w.kill()
    w.restart()
    assert next(family.used for family in w.governor.status() if family.family == "spot") == used
    await w.clock.sleep(60.0)
    await w.kill()
    w.restart()
    left = next(family.used for family in w.governor.status() if family.family == "spot")
    assert left <= 3, "reads of the time, by a clock that might have been a minute off"
