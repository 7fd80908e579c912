"""The headers of docs/design.md#headers on answers."""

import gzip

import pytest

from mdcache.cache.answers import CacheStatus
from tests.support.asgi_client import KLINES, LOOPBACK_PEER, QUERY, REMOTE_PEER
from tests.support.serving_fakes import NOW_MS
from tests.support.serving_harness import BODY, ServingHarness, series

BIG = b"[" + b",".join([BODY[1:-1]] * 40) + b"]"


async def test_a_first_answer_has_its_cache_status() -> None:
    house = ServingHarness()
    reply = await house.ask()
    assert reply.status == 200
    assert reply.body == BODY
    assert reply.headers["cache-status"] == "mdcache; fwd=uri-miss; fwd-status=200; stored; ttl=2"
    assert reply.headers["x-mdcache-as-of"] == str(NOW_MS - 500)
    assert reply.headers["age"] == "0"
    assert reply.headers["cache-control"] == "max-age=2, must-revalidate, stale-while-revalidate=0"
    assert reply.headers["x-accel-expires"] == "1"
    assert reply.headers["content-type"] == "application/json;charset=UTF-8"
    assert reply.headers["content-length"] == str(len(BODY))
    assert reply.headers["x-mbx-used-weight-1m"] == "7"
    assert reply.headers["vary"] == "Accept, Accept-Encoding, X-MBX-TIME-UNIT, X-MDCache-Min-As-Of"
    assert "content-encoding" not in reply.headers
    assert reply.headers["etag"].startswith('"')


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"cache_status": CacheStatus.PARTIAL}, "mdcache; fwd=partial; fwd-status=200; stored; ttl=2"),
        ({"cache_status": CacheStatus.REFRESHED}, "mdcache; fwd=stale; fwd-status=200; stored; ttl=2"),
        ({"cache_status": CacheStatus.REQUESTED}, "mdcache; fwd=request; fwd-status=200; stored; ttl=2"),
        (
            {"cache_status": CacheStatus.MISS, "collapsed": True},
            "mdcache; fwd=uri-miss; fwd-status=200; stored; collapsed; ttl=2",
        ),
        ({"cache_status": CacheStatus.HIT}, "mdcache; hit; ttl=2"),
        ({"cache_status": CacheStatus.HIT, "settled": True}, "mdcache; hit; ttl=3600"),
    ],
)
async def test_cache_status(changes: dict[str, object], expected: str) -> None:
    house = ServingHarness()
    house.candles.make = lambda: house.answer(**changes)
    assert (await house.ask()).headers["cache-status"] == expected


@pytest.mark.parametrize(("age_ms", "ttl"), [(2_100, -1), (5_000, -3), (29_900, -27), (1_000, -1)])
async def test_the_mark(age_ms: int, ttl: int) -> None:
    house = ServingHarness()
    house.candles.make = lambda: house.answer(
        cache_status=CacheStatus.HIT, stale=True, as_of_ms=NOW_MS - age_ms, valid_until_ms=-1
    )
    reply = await house.ask()
    assert reply.status == 200
    assert reply.headers["cache-status"] == f"mdcache; hit; ttl={ttl}; detail=stale"
    assert reply.headers["age"] == str(age_ms // 1000)
    assert reply.headers["x-accel-expires"] == "0"
    assert reply.headers["x-mdcache-as-of"] == str(NOW_MS - age_ms)


async def test_a_derived_candle_is_told() -> None:
    house = ServingHarness()
    house.candles.make = lambda: house.answer(cache_status=CacheStatus.REFRESHED, derived=True)
    reply = await house.ask()
    assert reply.headers["cache-status"].startswith("mdcache; fwd=stale; fwd-status=200; stored; ttl=")
    assert reply.headers["cache-status"].endswith("; detail=derived")
    house.candles.make = lambda: house.answer(cache_status=CacheStatus.HIT, derived=True)
    reply = await house.ask()
    assert reply.headers["cache-status"].startswith("mdcache; hit; ttl=")
    assert reply.headers["cache-status"].endswith("; detail=derived")


async def test_a_marked_answer_is_never_remembered() -> None:
    house = ServingHarness()
    house.candles.make = lambda: house.answer(cache_status=CacheStatus.HIT, stale=True, valid_until_ms=-1)
    for _ in range(4):
        await house.ask()
    assert len(house.readies) == 0
    assert len(house.candles.asked) == 4


async def test_age_is_never_negative() -> None:
    house = ServingHarness()
    house.candles.make = lambda: house.answer(as_of_ms=NOW_MS + 400, valid_until_ms=NOW_MS + 2_400)
    assert (await house.ask()).headers["age"] == "0"


async def test_no_lifetime_passes_a_close() -> None:
    house = ServingHarness()
    house.candles.make = lambda: house.answer(lifetime_s=60.0, as_of_ms=NOW_MS, valid_until_ms=NOW_MS + 4_200)
    reply = await house.ask()
    assert reply.headers["cache-control"].startswith("max-age=4, must-revalidate")
    assert reply.headers["x-accel-expires"] == "3"
    assert reply.headers["cache-status"].endswith("ttl=4")


async def test_immutable() -> None:
    house = ServingHarness()
    house.candles.make = lambda: house.answer(settled=True, immutable=True, lifetime_s=31_536_000.0)
    reply = await house.ask()
    assert reply.headers["cache-control"] == "max-age=31536000, immutable"
    assert "x-accel-expires" not in reply.headers


async def test_usage_is_left_out_where_there_is_none() -> None:
    house = ServingHarness()
    house.gates.used_weight = None
    assert "x-mbx-used-weight-1m" not in (await house.ask()).headers


async def test_usage_belongs_to_its_minute() -> None:
    house = ServingHarness()
    house.candles.make = lambda: house.answer(settled=True)
    for _ in range(3):
        await house.ask()
    to_the_next = (60_000 - house.clock.wall_ms() % 60_000) / 1000
    house.clock.seconds += to_the_next - 0.001
    assert (await house.ask()).headers["x-mbx-used-weight-1m"] == "7"
    house.gates.used_weight = None
    house.clock.seconds += 0.002
    reply = await house.ask()
    assert "x-mbx-used-weight-1m" not in reply.headers
    assert reply.headers["cache-status"].startswith("mdcache; hit")


async def test_usage_never_goes_back_within_a_minute() -> None:
    house = ServingHarness()
    house.candles.make = lambda: house.answer(settled=True)
    for _ in range(3):
        assert (await house.ask()).headers["x-mbx-used-weight-1m"] == "7"
    house.gates.used_weight = 12  # what a read of another question has just been told
    assert (await house.ask(query=b"symbol=ETHUSDT&interval=1m")).headers["x-mbx-used-weight-1m"] == "12"
    hit = await house.ask()
    assert hit.headers["cache-status"].startswith("mdcache; hit")
    assert hit.headers["x-mbx-used-weight-1m"] == "12"
    for forgotten in (None, 3):  # a correction of the clock forgets it, and the replies on their way state less
        house.gates.used_weight = forgotten
        house.clock.seconds += 0.2
        for query in (QUERY, b"symbol=BNBUSDT&interval=1m"):
            assert (await house.ask(query=query)).headers["x-mbx-used-weight-1m"] == "12"
        assert (await house.ask("/api/v3/ping", b"")).headers["x-mbx-used-weight-1m"] == "12"
    house.clock.seconds += 60
    assert (await house.ask()).headers["x-mbx-used-weight-1m"] == "3"


async def test_usage_of_the_previous_minute_does_not_come_back_with_its_clock() -> None:
    house = ServingHarness()
    house.candles.make = lambda: house.answer(settled=True)
    for _ in range(3):
        await house.ask()
    house.clock.seconds += 60
    house.gates.used_weight = 2
    assert (await house.ask()).headers["x-mbx-used-weight-1m"] == "2"
    house.clock.seconds -= 60
    house.gates.used_weight = 900
    assert (await house.ask("/api/v3/ping", b"")).headers["x-mbx-used-weight-1m"] == "2"
    house.clock.seconds -= 3_600  # a clock that was an hour ahead until now
    assert (await house.ask("/api/v3/ping", b"")).headers["x-mbx-used-weight-1m"] == "900"


async def test_futures_share_what_is_stated() -> None:
    house = ServingHarness()
    for _ in range(3):
        await house.ask("/dapi/v1/klines", b"symbol=BTCUSD_PERP&interval=1m")
    house.gates.used_weight = 12
    await house.ask("/fapi/v1/ping", b"")
    hit = await house.ask("/dapi/v1/klines", b"symbol=BTCUSD_PERP&interval=1m")
    assert hit.headers["x-mbx-used-weight-1m"] == "12"


async def test_futures_content_type() -> None:
    house = ServingHarness()
    other = series("/fapi/v1/klines")
    house.candles.make = lambda: house.answer(series=other, versions=(0, 0))
    reply = await house.ask("/fapi/v1/klines")
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["vary"] == "Accept-Encoding, X-MDCache-Min-As-Of"  # it has no time unit


@pytest.mark.parametrize(
    ("compress", "peer", "accept", "coded"),
    [
        ("auto", REMOTE_PEER, "gzip, deflate, br", True),
        ("auto", LOOPBACK_PEER, "gzip, deflate, br", False),
        ("auto", ("::1", 1), "gzip", False),
        ("auto", ("::ffff:127.0.0.1", 1), "gzip", False),
        ("auto", None, "gzip", False),
        ("on", LOOPBACK_PEER, "gzip, deflate", True),
        ("off", REMOTE_PEER, "gzip", False),
        ("on", LOOPBACK_PEER, "identity", False),
        ("on", LOOPBACK_PEER, "gzip;q=0", False),
        ("on", LOOPBACK_PEER, None, False),
    ],
)
async def test_gzip(compress: str, peer: tuple[str, int] | None, accept: str | None, coded: bool) -> None:
    house = ServingHarness(compress=compress)
    house.candles.make = lambda: house.answer(body=BIG)
    headers = {} if accept is None else {"accept-encoding": accept}
    reply = await house.ask(headers=headers, peer=peer)
    assert (reply.headers.get("content-encoding") == "gzip") is coded
    assert reply.headers["content-length"] == str(len(reply.body))
    assert (gzip.decompress(reply.body) if coded else reply.body) == BIG
    assert reply.headers["etag"].endswith('-gzip"') is coded
    assert "Accept-Encoding" in reply.headers["vary"]


async def test_small_bodies_are_not_compressed() -> None:
    house = ServingHarness(compress="on")
    assert "content-encoding" not in (await house.ask(headers={"accept-encoding": "gzip"})).headers


async def test_etags_come_from_content_alone() -> None:
    first, second = ServingHarness(), ServingHarness()
    tag = (await first.ask()).headers["etag"]
    second.clock.seconds += 17.0
    second.series.settled_version = 4
    assert (await second.ask(query=b"interval=1m&symbol=BTCUSDT")).headers["etag"] == tag
    second.candles.make = lambda: second.answer(body=BODY.replace(b'"1"', b'"2"'))
    assert (await second.ask()).headers["etag"] != tag


@pytest.mark.parametrize("form", ["{tag}", "W/{tag}", '"other", {tag}', '{tag},W/"x"', "*"])
@pytest.mark.parametrize("times", [1, 3])
async def test_unchanged(form: str, times: int) -> None:
    house = ServingHarness()
    tag = (await house.ask()).headers["etag"]
    for _ in range(times - 1):
        await house.ask()
    reply = await house.ask(headers={"if-none-match": form.format(tag=tag)})
    assert reply.status == 304
    assert reply.body == b""
    assert reply.headers["etag"] == tag
    assert "content-length" not in reply.headers
    assert "content-type" not in reply.headers
    for name in ("cache-control", "vary", "age", "x-mdcache-as-of", "cache-status"):
        assert name in reply.headers


async def test_either_tag_matches() -> None:
    house = ServingHarness(compress="on")
    house.candles.make = lambda: house.answer(body=BIG)
    plain = (await house.ask()).headers["etag"]
    coded = (await house.ask(headers={"accept-encoding": "gzip"})).headers["etag"]
    assert coded == plain[:-1] + '-gzip"'
    for tag in (plain, coded):
        for headers in ({}, {"accept-encoding": "gzip"}):
            reply = await house.ask(headers={"if-none-match": tag, **headers})
            assert reply.status == 304
            assert reply.headers["etag"] == tag


@pytest.mark.parametrize("value", ['"nope"', "nope", "", "W/", '"', '""'])
async def test_other_tags_do_not_match(value: str) -> None:
    assert (await ServingHarness().ask(headers={"if-none-match": value})).status == 200


async def test_head_has_the_headers_of_get() -> None:
    house = ServingHarness()
    get = await house.ask()
    head = await house.ask(method="HEAD")
    assert head.status == 200
    assert head.body == b""
    for name in ("etag", "content-length", "content-type", "x-mdcache-as-of"):
        assert head.headers[name] == get.headers[name]


async def test_every_kline_answer_has_all_headers_when_ready_too() -> None:
    house = ServingHarness()
    first = await house.ask(KLINES, QUERY)
    await house.ask(KLINES, QUERY)
    ready = await house.ask(KLINES, QUERY)
    assert len(house.candles.asked) == 2
    assert ready.headers.keys() == first.headers.keys()
    differing = {name for name in first.headers if first.headers[name] != ready.headers[name]}
    assert differing == {"cache-status"}
    assert ready.headers["cache-status"] == "mdcache; hit; ttl=2"
