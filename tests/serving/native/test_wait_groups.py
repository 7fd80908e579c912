"""Those that wait with one question share the answer of one look; each gets what it would have got alone.

Rule: docs/design.md#native.
"""

import asyncio
import gzip
import json
from typing import Any

import pytest

from mdcache.serving.native import wait_group
from mdcache.serving.native.row_reads import RowReads
from mdcache.serving.native.wakes import Wakes
from tests.serving.native.test_waits import ONE, TWO, timed, token
from tests.support.asgi_client import REMOTE_PEER, Response, ask
from tests.support.candles_questions import MINUTE, PATH, get, world
from tests.support.served_daemon import TOKEN, ServedDaemon

pytestmark = pytest.mark.virtual


class Looks:
    """Counts the looks from now on; `reads`: what each found was obtained by."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        find_all = RowReads.find_all

        async def counted(reads: RowReads, *args: Any) -> Any:
            self.count += 1
            return await find_all(reads, *args)

        monkeypatch.setattr(RowReads, "find_all", counted)


async def remote(w: ServedDaemon, query: str, path: str = PATH, **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await ask(w.app, path, query.encode(), headers=named, peer=REMOTE_PEER)


def body(reply: Response) -> bytes:
    return gzip.decompress(reply.body) if "content-encoding" in reply.headers else reply.body


async def waiting(w: ServedDaemon, query: str, count: int, **headers: str) -> list["asyncio.Task[Response]"]:
    """Questions that wait by now."""
    asked = [asyncio.create_task(remote(w, query, **headers)) for _ in range(count)]
    await w.clock.sleep(1.0)
    return asked


async def test_many_that_wait_cost_one_look_and_have_one_body(monkeypatch: pytest.MonkeyPatch) -> None:
    w = world(streams=True)
    since = await token(w, ONE)
    asked = await waiting(w, f"{ONE}&since={since}&wait=60", 100, accept_encoding="gzip")
    looks = Looks(monkeypatch)
    replies = await asyncio.gather(*asked)
    assert looks.count == 1
    assert {reply.status for reply in replies} == {200}
    assert len({reply.body for reply in replies}) == len({tuple(reply.headers.items()) for reply in replies}) == 1
    assert int(replies[0].headers["content-length"]) == len(replies[0].body)
    alone = json.loads((await get(w, f"{ONE}&since={since}")).body)
    found = json.loads(body(replies[0]))
    assert found["series"][0]["rows"] == alone["series"][0]["rows"]
    assert (await get(w, f"{ONE}&since={found['token']}")).status == 204


async def test_different_questions_are_not_mixed_up() -> None:
    w = world(streams=True)
    open_too = ONE.replace("&closed=true", "")
    tokens = {query: await token(w, query) for query in (ONE, TWO, open_too, ONE.replace("limit=10", "limit=3"))}
    forms: list[tuple[str, dict[str, str]]] = [
        *((query, {}) for query in tokens),
        (ONE, {"accept_encoding": "gzip"}),
        (ONE, {"accept": "text/csv"}),
        (ONE, {"accept": "text/csv", "accept_encoding": "gzip"}),
        (ONE, {"cache_control": "max-age=1"}),
        (ONE, {"x_mdcache_client": "engine"}),
        (f"{ONE}&format=arrow", {}),
    ]
    asked = [
        asyncio.create_task(remote(w, f"{query}&since={tokens[query.partition('&format')[0]]}&wait=60", **headers))
        for query, headers in forms
        for _ in range(2)
    ]
    replies = await asyncio.gather(*asked)
    for place, (query, headers) in enumerate(forms):
        alone = await remote(w, f"{query}&since={tokens[query.partition('&format')[0]]}", **headers)
        for reply in replies[2 * place : 2 * place + 2]:
            assert reply.status == alone.status == 200
            assert reply.headers["content-type"] == alone.headers["content-type"]
            assert reply.headers.get("content-encoding") == alone.headers.get("content-encoding")
            if query == open_too:
                assert json.loads(reply.body)["series"][0]["rows"][-1][11] is False
            elif alone.headers["content-type"] == "application/json":
                shown = [{**each, "as_of": 0} for each in json.loads(body(reply))["series"]]
                assert shown == [{**each, "as_of": 0} for each in json.loads(body(alone))["series"]]
            elif "csv" in alone.headers["content-type"]:
                assert body(reply) == body(alone)
    page = (await w.get("/metrics", authorization=f"Bearer {TOKEN}")).body.decode()
    counted = [line for line in page.splitlines() if line.startswith("mdcache_requests_total") and "engine" in line]
    assert counted == ['mdcache_requests_total{client="engine",endpoint="candles",market="spot",result="hit"} 3.0']


async def test_one_that_demands_fresh_data_gets_it_from_one_read_with_others() -> None:
    w = world()
    since = await token(w, ONE)
    asked = await waiting(w, f"{ONE}&since={since}&wait=60", 20, cache_control="no-cache")
    calls = len(w.calls())
    replies = await asyncio.gather(*asked)
    said = sorted(reply.headers["cache-status"] for reply in replies)
    assert len(w.calls()) - calls <= 2  # the watcher's, and theirs
    assert [each.endswith("collapsed") for each in said] == [False] + [True] * 19 or said[0] == "mdcache; hit"
    assert all(w.clock.true_ms() - int(reply.headers["x-mdcache-as-of"]) <= 150 for reply in replies)


async def test_one_that_leaves_takes_nothing_from_the_others() -> None:
    w = world(streams=True)
    since = await token(w, ONE)
    leaves = asyncio.Event()
    query = f"{ONE}&since={since}&wait=60"
    asked = await waiting(w, query, 3)
    gone = asyncio.create_task(ask(w.app, PATH, query.encode(), peer=REMOTE_PEER, leaves=leaves))
    await w.clock.sleep(1.0)
    assert len(w.app._listeners) == 4
    leaves.set()
    await w.clock.sleep(0.1)
    assert gone.done()
    assert len(w.app._listeners) == 3
    assert {reply.status for reply in await asyncio.gather(*asked)} == {200}


async def test_news_that_are_found_are_told_at_a_deadline_that_comes_before_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    w = world(streams=True)
    since = await token(w, ONE)
    to_close_s = (MINUTE - w.clock.true_ms() % MINUTE) / 1000
    asked = await waiting(w, f"{ONE}&since={since}&wait={to_close_s + 3:.3f}", 3)
    add, held = Wakes.add, False

    def add_late(wakes: Wakes, wake: Any) -> None:
        nonlocal held
        held = held or isinstance(getattr(wake, "__self__", None), wait_group.Waiter)  # which would be woken
        if held:
            asyncio.get_running_loop().call_later(20.0, wake)
        else:
            add(wakes, wake)

    monkeypatch.setattr(Wakes, "add", add_late)
    before_s = w.clock.now()
    replies = await asyncio.gather(*asked)
    assert w.clock.now() - before_s < to_close_s + 3.1
    assert {reply.status for reply in replies} == {200}


async def test_what_takes_long_to_tell_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    w = world(streams=True)
    since = await token(w, ONE)
    turn = Wakes.turn

    async def slow_turn(wakes: Wakes) -> None:
        await turn(wakes)
        await w.clock.sleep(0.02)

    monkeypatch.setattr(Wakes, "turn", slow_turn)
    looks = Looks(monkeypatch)
    replies = await asyncio.gather(*(timed(w, f"{ONE}&since={since}&wait=60") for _ in range(200)))
    assert 202 <= looks.count <= 204
    assert all(at_ms - int(reply.headers["x-mdcache-now"]) <= 100 for reply, at_ms in replies)


@pytest.mark.parametrize("form", ["json", "csv"])
async def test_a_long_answer_is_made_for_each(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wait_group, "_SHARED_BYTES", 100)
    w = world(streams=True)
    since = await token(w, ONE)
    asked = await waiting(w, f"{ONE}&format={form}&since={since}&wait=60", 3)
    looks = Looks(monkeypatch)
    first, *others = await asyncio.gather(*asked)
    assert looks.count == 4  # and one that showed that it is long
    assert first.body.count(b"true") >= 10
    assert [other.body for other in others] == [first.body] * 2


async def test_at_the_deadline_the_last_look_tells_as_of_when_nothing_had_changed() -> None:
    w = world(streams=True)
    query = ONE.replace("intervals=1m", "intervals=1h")
    since = await token(w, query)
    (asked,) = await waiting(w, f"{query}&since={since}&wait=20", 1)
    await w.clock.sleep(14.0)
    (watcher,) = w.event_streams.watchers._watchers.values()
    watcher._tell()
    reply, at_ms = await asked, w.clock.true_ms()
    assert (reply.status, reply.body) == (204, b"")
    assert 4_900 <= at_ms - int(reply.headers["x-mdcache-now"]) <= 5_100
