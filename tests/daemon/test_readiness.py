"""A daemon behind a balancer, which gets no questions while it says that it is not ready."""

import asyncio
from pathlib import Path

import pytest

from mdcache.daemon.readiness import readiness
from mdcache.errors import MdcacheError
from mdcache.exchange.markets import Family
from mdcache.serving.ports import Readiness
from tests.support.sim_transport import SimTransport
from tests.support.virtual_daemon import DaemonOptions, VirtualDaemon

pytestmark = pytest.mark.virtual

QUESTIONS = (
    ("/api/v3/klines", "symbol=BTCUSDT&interval=1m&limit=5"),
    ("/fapi/v1/klines", "symbol=BTCUSDT&interval=1m&limit=5"),
)


def ready(w: VirtualDaemon) -> Readiness:
    return readiness(w.governor, w.info.table, ())


async def start(w: VirtualDaemon) -> None:
    """As the daemon's own start."""
    await w.governor.start()
    w.info.start()
    await asyncio.sleep(0.01)


def cable(w: VirtualDaemon, *, unplugged: bool) -> None:
    assert isinstance(w.transport, SimTransport)
    w.transport.unplugged = unplugged


async def balance(w: VirtualDaemon, seconds: float, every_s: float = 0.2) -> int:
    """Ask both families all the time, but only while it is ready; return how many questions were answered."""
    end_s, answered = w.clock.now() + seconds, 0
    while w.clock.now() < end_s:
        if not ready(w).reasons:
            for path, query in QUESTIONS:
                try:
                    await w.ask(path, query)
                    answered += 1
                except MdcacheError:
                    pass
        await w.clock.sleep(every_s)
    return answered


async def never_asked(w: VirtualDaemon, seconds: float) -> None:
    await balance(w, seconds, every_s=seconds)


async def seconds_until_ready(w: VirtualDaemon, within_s: float) -> float:
    """Return how long it took, with no question at all."""
    began_s = w.clock.now()
    while ready(w).reasons:
        await w.clock.sleep(0.1)
        assert w.clock.now() - began_s < within_s
    return w.clock.now() - began_s


def states(w: VirtualDaemon) -> list[str]:
    return [family.gate_state for family in w.governor.status()]


def requests(w: VirtualDaemon) -> list[str]:
    return [entry.path for entry in w.exchange.log]


def forget_symbols(folder: Path) -> None:
    for path in folder.glob("exchangeInfo*"):
        path.unlink()


async def shut_out(folder: Path, seconds: float) -> VirtualDaemon:
    """A daemon that met a ban of both families, and whose process was killed then."""
    w = VirtualDaemon(folder=folder)
    for path, query in QUESTIONS:
        await w.ask(path, query)
    await w.clock.sleep(3.0)
    w.exchange.control.ban("spot", seconds)
    w.exchange.control.ban("futures", seconds)
    for path, query in QUESTIONS:
        with pytest.raises(MdcacheError):
            await w.ask(path, query.replace("BTC", "ETH"))
    await w.clock.sleep(1.0)
    await w.kill()
    return w


@pytest.mark.parametrize("outage_s", [3.0, 25.0])
async def test_the_exchange_is_late_at_the_first_start(outage_s: float) -> None:
    w = VirtualDaemon()
    await start(w)
    cable(w, unplugged=True)
    assert await balance(w, outage_s) == 0
    cable(w, unplugged=False)
    await balance(w, outage_s + 5)
    assert not ready(w).reasons
    assert await balance(w, 10.0) >= 60


async def test_a_gate_that_is_due_may_be_asked() -> None:
    w = VirtualDaemon()
    for family in Family:
        w.governor.close_gate(family, 60.0)
    await w.clock.sleep(59.0)
    assert len(ready(w).reasons) == 2
    assert "reopens in 1 s" in ready(w).reasons[0]
    await w.clock.sleep(1.0)
    assert ready(w).reasons == ()
    assert "may be probed now" in ready(w).degraded[0]


async def test_after_a_restart_in_a_ban_what_is_stored_counts(tmp_path: Path) -> None:
    w = await shut_out(tmp_path, 600.0)
    w.restart()
    assert ready(w).reasons
    await start(w)
    assert ready(w).reasons == ()
    assert len(ready(w).degraded) == 2


async def test_after_a_restart_in_a_ban_without_symbols_it_comes_back_by_itself(tmp_path: Path) -> None:
    w = await shut_out(tmp_path, 100.0)
    forget_symbols(tmp_path)
    w.restart()
    before = len(requests(w))
    await start(w)
    assert ready(w).reasons
    assert await seconds_until_ready(w, 120.0) > 95
    await w.clock.sleep(3.0)
    probes = requests(w)[before:]
    assert sorted(probes) == ["/api/v3/time", "/fapi/v1/time"]
    assert states(w) == ["ramp", "ramp"]
    assert await balance(w, 5.0) >= 20


@pytest.mark.parametrize("content", [b"", b"{", b'{"version":1,"egress":{"default":{"spot":{},"futures":7}}}'])
async def test_with_unreadable_gates_it_is_ready_at_once_and_probes(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "gates.json").write_bytes(content)
    w = VirtualDaemon(folder=tmp_path)
    await start(w)
    assert ready(w).reasons == ()
    assert states(w) == ["closed", "closed"]
    await w.clock.sleep(2.5)
    assert states(w) == ["ramp", "ramp"]
    assert len(requests(w)) == 2


async def test_a_question_within_a_second_is_the_probe() -> None:
    w = VirtualDaemon()
    await start(w)
    w.governor.close_gate(Family.SPOT, 30.0)
    await w.clock.sleep(30.5)
    await w.ask(*QUESTIONS[0])
    asked = requests(w)
    await w.clock.sleep(60.0)
    assert requests(w) == asked


async def test_before_its_time_nothing_is_sent_and_after_it_one_read() -> None:
    w = VirtualDaemon()
    await start(w)
    w.governor.close_gate(Family.SPOT, 600.0)
    await w.clock.sleep(600.9)
    assert requests(w) == []
    await w.clock.sleep(1.3)
    assert requests(w) == ["/api/v3/time"]
    await w.clock.sleep(3_600.0)
    assert requests(w) == ["/api/v3/time"]


async def test_an_exchange_that_never_answers_is_probed_at_the_pace_of_the_pauses() -> None:
    w = VirtualDaemon(options=DaemonOptions(max_stale_s=0.0))
    await start(w)
    cable(w, unplugged=True)
    for path, query in QUESTIONS * 6:
        with pytest.raises(MdcacheError):
            await w.ask(path, query)
    assert isinstance(w.transport, SimTransport)
    await never_asked(w, 600.0)
    sent = w.transport.sent
    await never_asked(w, 3_600.0)
    assert 2 * 163 <= w.transport.sent - sent <= 2 * 328  # pauses are between 10 and 20 s by now, and 1 to 2 s more
    cable(w, unplugged=False)
    assert await seconds_until_ready(w, 30.0) < 30.0


@pytest.mark.parametrize("status", [403, 418])
async def test_a_refused_probe_waits_as_long_as_it_is_told(status: int) -> None:
    w = VirtualDaemon()
    await start(w)
    w.governor.close_gate(Family.SPOT, 10.0)
    if status == 418:
        w.exchange.control.ban("spot", 100.0)
    else:
        w.exchange.control.fault("403", count=5)
    await w.clock.sleep(13.0)
    assert states(w)[0] == "closed"
    first = len(requests(w))
    await w.clock.sleep(120.0)
    assert len(requests(w)) - first == (1 if status == 418 else 5)
    assert states(w)[0] == "ramp"
