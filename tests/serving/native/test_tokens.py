"""Tokens of `/v1/candles`: what changed since, and which are refused. Rule: docs/design.md#native."""

import json

import pytest

from mdcache.serving.native.tokens import write_token
from tests.support.candles_questions import TWO, get, world

pytestmark = pytest.mark.virtual


async def test_a_token_names_what_changed_and_nothing_new_is_no_content() -> None:
    w = world(derive=False)
    first = json.loads((await get(w, f"{TWO}&closed=true")).body)
    since = f"{TWO}&closed=true&since={first['token']}"
    none = await get(w, since)
    assert (none.status, none.body) == (204, b"")
    assert int(none.headers["x-mdcache-as-of"]) > 0
    await w.clock.sleep(60.0)
    second = json.loads((await get(w, since)).body)
    assert [(each["symbol"], each["interval"]) for each in second["series"]] == [("BTCUSDT", "1m"), ("ETHUSDT", "1m")]
    assert all(len(each["rows"]) == 500 for each in second["series"])
    assert (await get(w, f"{TWO}&closed=true&since={second['token']}")).status == 204
    w.restart()
    assert (await get(w, f"{TWO}&closed=true&since={second['token']}")).status == 204


async def test_that_a_series_becomes_stale_or_fails_is_news_and_so_is_its_return() -> None:
    w = world(max_stale_s=200.0)
    query = "market=spot&symbols=BTCUSDT&intervals=1h&closed=true"
    token = json.loads((await get(w, query)).body)["token"]
    w.exchange.control.ban("spot", 60.0)
    await w.clock.sleep(30.0)
    stale = json.loads((await get(w, f"{query}&since={token}")).body)
    assert stale["series"][0]["stale"] is True
    assert (await get(w, f"{query}&since={stale['token']}")).status == 204
    await w.clock.sleep(60.0)
    fresh = json.loads((await get(w, f"{query}&since={stale['token']}")).body)
    assert fresh["series"][0]["stale"] is False


async def test_a_token_that_cant_be_used_is_refused_with_what_would_be_right() -> None:
    w = world()
    token = json.loads((await get(w, TWO)).body)["token"]
    name, _, packed = token.split(".")
    await w.clock.sleep(30.0)  # a question with another token would be asked again
    calls = len(w.calls())
    for since, said in (
        ("garbage", "not a token"),
        ("%00%ff", "Illegal"),
        (f"{'0' * 16}.{w.clock.true_ms() // 60_000:x}.{packed}", "another question, or to an mdcache with another"),
        (write_token(name, w.clock.true_ms() - 7 * 86_400_000, [b"123456"] * 4), "more than a day old"),
        (write_token(name, w.clock.true_ms() + 600_000, [b"123456"] * 4), "ahead"),
        (token[:-1], "cut off"),
        (token[:-8], "cut off"),
    ):
        reply = await get(w, f"{TWO}&since={since}")
        assert reply.status == 400, since
        assert said in json.loads(reply.body)["msg"]
    assert (await get(w, f"{TWO}&limit=7&since={token}")).status == 400
    assert len(w.calls()) == calls


async def test_a_token_is_taken_after_a_start_with_a_wrong_wall_clock() -> None:
    """Until the exchange's time is known, no token is too old, and none lies ahead."""
    w = world()
    token = json.loads((await get(w, TWO)).body)["token"]
    for step_ms in (2 * 86_400_000, -2 * 86_400_000):
        w.clock.step_ms = step_ms
        w.restart()
        assert (await get(w, f"{TWO}&since={token}")).status in {200, 204}
