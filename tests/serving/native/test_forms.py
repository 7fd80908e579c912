"""The forms of the answers of `/v1/candles`: JSON and tables, whole, in chunks and compressed.

Rule: docs/design.md#native.
"""

import gzip
import json
import zlib

import pytest

from mdcache.serving.http.response_cycle import PARTS
from mdcache.serving.native import native_app
from tests.support.asgi_client import REMOTE_PEER, ask
from tests.support.candles_questions import PATH, TWO, get, series, world

pytestmark = pytest.mark.virtual


async def test_only_what_is_served_is_accepted() -> None:
    w = world()
    refused = await get(w, TWO, accept="application/xml, image/*")
    assert refused.status == 406
    assert "text/csv" in json.loads(refused.body)["msg"]
    assert not w.exchange.log
    for accept, expected in (
        ("*/*", "json"),
        ("text/csv", "csv"),
        ("text/*;q=0.5, application/json", "json"),
        ("text/html, */*;q=0.1", "json"),
    ):
        reply = await get(w, f"{TWO}&limit=2", accept=accept)
        assert expected in reply.headers["content-type"]


async def test_head_options_and_other_methods() -> None:
    w = world()
    head = await ask(w.app, PATH, TWO.encode(), method="HEAD")
    assert (head.status, head.body, head.headers["content-type"]) == (200, b"", "application/json")
    assert (await ask(w.app, PATH, TWO.encode(), method="OPTIONS")).status == 204
    assert (await ask(w.app, PATH, TWO.encode(), method="POST")).status == 405


@pytest.mark.parametrize("encoding", ["", "gzip"])
async def test_http_1_0_has_no_chunks(encoding: str) -> None:
    w = world()
    query = f"{TWO}&limit=1000&closed=true&format=csv"
    plain = await get(w, query)
    old = await ask(
        w.app, PATH, query.encode(), headers={"accept-encoding": encoding}, peer=REMOTE_PEER, http_version="1.0"
    )
    assert old.headers["content-length"] == str(len(old.body))
    assert (gzip.decompress(old.body) if "content-encoding" in old.headers else old.body) == plain.body
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native_app, "_WHOLE_BYTES", len(old.body) - 1)
        long = await ask(
            w.app, PATH, query.encode(), headers={"accept-encoding": encoding}, peer=REMOTE_PEER, http_version="1.0"
        )
    assert (long.status, json.loads(long.body)["code"]) == (400, -1130)
    assert "HTTP/1.1" in json.loads(long.body)["msg"]


@pytest.mark.parametrize("encoding", ["", "gzip"])
async def test_kept_rows_are_written_together_where_the_server_can(encoding: str) -> None:
    w = world()
    query = f"{TWO}&limit=1000&closed=true".encode()
    for asked in range(4):
        plain = await get(w, query.decode())
        headers = {"accept-encoding": encoding}
        whole = await ask(w.app, PATH, query, headers=headers, peer=REMOTE_PEER, extensions={PARTS: {}})
        body = gzip.decompress(whole.body) if encoding else whole.body
        assert json.loads(body)["series"] == json.loads(plain.body)["series"]
        if asked > 1:
            assert int(whole.headers["content-length"]) == len(whole.body)
    head = await ask(w.app, PATH, query, method="HEAD", extensions={PARTS: {}})
    assert (head.status, head.body) == (200, b"")


async def test_gzip_where_asked_for() -> None:
    w = world()
    query = f"{TWO}&limit=1000&closed=true"
    for asked in range(3):  # printed anew, kept printed, kept compressed
        plain = await get(w, query)
        packed = await ask(w.app, PATH, query.encode(), headers={"accept-encoding": "gzip"}, peer=REMOTE_PEER)
        assert packed.headers["content-encoding"] == "gzip"
        for unpacked in (gzip.decompress(packed.body), zlib.decompressobj(31).decompress(packed.body)):
            assert json.loads(unpacked)["series"] == json.loads(plain.body)["series"]
        assert len(packed.body) < len(plain.body) / 2
        assert ("content-length" in packed.headers) == (asked == 2)
    w.exchange.control.ban("spot", 600.0)
    await w.clock.sleep(25.0)
    marked = await ask(w.app, PATH, query.encode(), headers={"accept-encoding": "gzip"}, peer=REMOTE_PEER)
    assert {each["stale"] for each in json.loads(gzip.decompress(marked.body))["series"]} == {True}


async def test_a_table_has_the_same_rows_and_fails_as_a_whole_unless_partial() -> None:
    w = world()
    found = await series(w, f"{TWO}&limit=20")
    table = await get(w, f"{TWO}&limit=20", f"{PATH}.csv")
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    header, *lines = table.body.decode().splitlines()
    assert header == (
        "market,symbol,interval,open_time,open,high,low,close,volume,close_time,quote_volume,trades,"
        "taker_buy_volume,taker_buy_quote_volume,closed"
    )
    expected = [
        ",".join(["spot", each["symbol"], each["interval"], *map(str, row[:11]), str(row[11]).lower()])
        for each in found
        for row in each["rows"]
    ]
    assert lines == expected
    assert int(table.headers["x-mdcache-as-of"]) == min(each["as_of"] for each in found)
    query = "market=spot&symbols=BTCUSDT,NOSUCHUSDT&intervals=1m&limit=3&format=csv"
    assert (await get(w, query)).status == 400
    partial = await get(w, f"{query}&partial=true")
    assert (partial.status, len(partial.body.splitlines())) == (200, 4)
