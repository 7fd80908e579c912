"""Random questions for bodies that share answers: no answer is untrue, too old or back in time."""

import asyncio
import functools
import json
import random
from urllib.parse import quote

import pytest

from mdcache.events import UpstreamCalled
from mdcache.exchange.markets import Family
from mdcache.sim import SimConfig
from tests.support.asgi_client import lifetime_s
from tests.support.served_daemon import ServedDaemon
from tests.support.virtual_daemon import DaemonOptions

PRICE, BOOK, DAY = "/api/v3/ticker/price", "/api/v3/ticker/bookTicker", "/api/v3/ticker/24hr"

pytestmark = pytest.mark.virtual


def in_step(w: ServedDaemon) -> None:
    """What is known of bodies, the bodies, and the account of them."""
    memory, held = w.library.memory, w.snapshots.bodies._held
    entries = [key for rank in (memory._probation, memory._protected) for key in rank if isinstance(key, tuple)]
    assert {key[1] for key in entries if key[0] == "snapshot"} == set(held)
    assert len(w.snapshots.bodies._cache._cache) == len(held)


async def mixture(w: ServedDaemon) -> list[tuple[str, str]]:
    """Questions that share answers: lists, elements, spellings."""
    for path in ("/fapi/v1/ticker/price", "/dapi/v1/ticker/price"):
        await w.get(path, b"")
    names = [each["symbol"] for each in json.loads((await w.get(PRICE, b"")).body)]
    queries = ["", "symbols=" + quote(json.dumps(names[:2], separators=(",", ":")))]
    queries += [f"{key}={name}" for key in ("symbol", "%73ymbol") for name in names[:5]]
    asked = [(path, query) for path in (PRICE, BOOK, DAY) for query in queries]
    asked += [("/fapi/v1/premiumIndex", query) for query in ("", "symbol=ETHUSDT", "symbol=BTCUSDT")]
    return asked + [("/dapi/v1/premiumIndex", query) for query in ("", "symbol=ETHUSD_PERP", "pair=BTCUSD")]


@pytest.mark.exhaustive
@pytest.mark.untraced
@pytest.mark.parametrize(("seed", "memory_mb"), [(3, 0.2), (1, 512.0), (2, 512.0)])
async def test_nothing_is_untrue_too_old_or_back_in_time(seed: int, memory_mb: float) -> None:
    rng = random.Random(seed)
    w = ServedDaemon(SimConfig(), DaemonOptions(memory_mb=memory_mb))
    asked = await mixture(w)
    newest: dict[tuple[str, str], int] = {}
    directives = ["", "", "", "no-cache", "max-age=0", "max-age=3", "only-if-cached"]
    pauses_s = (0.0, 0.02, 0.3)

    @functools.cache
    def truth(path: str, query: str, at_ms: int) -> bytes:
        return w.exchange.truth(path, query, at_ms=at_ms)

    async def one() -> None:
        path, query = rng.choice(asked)
        directive, key = rng.choice(directives), (path, query.replace("%73", "s"))
        began_ms, seen = w.clock.true_ms(), newest.get(key, 0)
        reply = await w.get(path, query.encode(), **({"cache_control": directive} if directive else {}))
        assert reply.status in {200, 503, 504}
        if reply.status != 200:
            return
        as_of = int(reply.headers["x-mdcache-as-of"])
        moments = [as_of + int(pause_s * 1000) + near for pause_s in pauses_s for near in (0, 1, 2)]
        assert any(reply.body == truth(path, query, at_ms) for at_ms in moments)
        assert as_of >= seen or memory_mb < 100
        newest[key] = max(newest.get(key, 0), as_of)
        allowed_s = {"no-cache": 0, "max-age=0": 0, "max-age=3": 3}.get(directive, 40)
        if not reply.headers["cache-status"].endswith("detail=stale"):
            allowed_s = min(allowed_s, lifetime_s(reply) + 1)
        assert began_ms - as_of <= allowed_s * 1000 + 5

    tasks: list[asyncio.Task[None]] = []
    left: set[asyncio.Task[None]] = set()
    for turn in range(900):
        if turn % 300 == 0:
            w.exchange.control.latency(before_s=rng.choice(pauses_s), after_s=rng.choice(pauses_s))
        if turn == 450:
            w.governor.close_gate(Family.SPOT, 15.0)
        tasks.append(asyncio.create_task(one()))
        if rng.random() < 0.05:
            left.add(leaving := rng.choice(tasks))
            leaving.cancel()
        await asyncio.sleep(rng.choice([0, 0, 0.01, 0.05, 0.2]))
    for task in tasks:
        await asyncio.wait({task})
        assert task in left or task.exception() is None
    await asyncio.sleep(30)
    assert len(w.snapshots) == 0
    in_step(w)
    assert {event.status for event in w.events if isinstance(event, UpstreamCalled)} == {200}
