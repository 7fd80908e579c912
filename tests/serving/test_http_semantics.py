"""HTTP as browsers, proxies and odd clients speak it."""

import asyncio
import gzip
import json

import httpx
import pytest

from mdcache.exchange.endpoints import ENDPOINTS
from mdcache.exchange.markets import KLINE_ENDPOINTS, Market
from mdcache.serving.app import App
from mdcache.serving.binance.request import RequestParser
from mdcache.settings import load
from mdcache.upstream.http_client import MarketClient
from mdcache.upstream.models import UpstreamRequest
from tests.serving.test_snapshots import PRICE, reads, world
from tests.support.asgi_client import ask
from tests.support.served_daemon import ServedDaemon
from tests.support.serving_harness import ServingHarness

DESK = "https://desk.example"


def crossing(w: ServedDaemon, *origins: str, forward: bool = False) -> App:
    """The world's application with other settings."""
    app = w.app
    return App(
        app._handlers, RequestParser({}, "auto"), w.clock, app._events, app._recorder, app._listeners,
        cors_origins=origins, forward=forward,
    )  # fmt: skip


@pytest.mark.virtual
async def test_a_page_of_a_listed_origin_may_read_and_no_other() -> None:
    w = world()
    app = crossing(w, DESK)
    for origin, allowed in ((DESK, True), ("https://evil.example", False)):
        headers = {"origin": origin}
        for _ in range(3):
            reply = await ask(app, PRICE, b"symbol=ETHUSDT", headers=headers)
            assert reply.status == 200
            assert ("access-control-allow-origin" in reply.headers) is allowed
            if allowed:
                assert reply.headers["access-control-allow-origin"] == DESK
                assert "X-MDCache-As-Of" in reply.headers["access-control-expose-headers"]
        asks = headers | {"access-control-request-method": "GET", "access-control-request-headers": "x-mbx-apikey"}
        preflight = await ask(app, PRICE, b"symbol=ETHUSDT", method="OPTIONS", headers=asks)
        assert (preflight.status == 200) is allowed
    refused = await ask(app, "/api/v3/order", b"", headers={"origin": DESK})
    assert refused.status == 403
    assert refused.headers["access-control-allow-origin"] == DESK  # or the page could not read why
    assert "access-control-allow-origin" not in (await ask(app, PRICE, b"symbol=ETHUSDT")).headers


@pytest.mark.parametrize("path", [PRICE, "/api/v3/klines", "/fapi/v1/exchangeInfo", "/api/v3/time"])
async def test_options_without_a_browser(path: str) -> None:
    reply = await ServingHarness().ask(path, b"", method="OPTIONS")
    assert (reply.status, reply.headers["allow"]) == (204, "GET, HEAD, OPTIONS")


@pytest.mark.virtual
@pytest.mark.parametrize(
    ("accepts", "coding"),
    [
        (None, None), ("", None), ("gzip, deflate", "gzip"), ("gzip, deflate, br", "gzip"),
        ("gzip, compress, deflate, br", "gzip"), ("deflate", None), ("br", None), ("identity", None), ("*", "gzip"),
    ],
)  # fmt: skip
async def test_codings(accepts: str | None, coding: str | None) -> None:
    w = world()
    path = "/api/v3/exchangeInfo"
    headers = {"content-type": "application/json"} | ({"accept-encoding": accepts} if accepts is not None else {})
    reply = await ask(w.app, path, b"", headers=headers, peer=("203.0.113.9", 4711))
    assert reply.status == 200
    assert reply.headers.get("content-encoding") == coding
    body = gzip.decompress(reply.body) if coding else reply.body
    assert json.loads(body)["symbols"]


@pytest.mark.virtual
async def test_a_key_on_a_public_path_is_nobodys_business() -> None:
    w = world()
    seen: list[httpx.Headers] = []
    inner = w.transport

    class Watching(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            seen.append(request.headers)
            return await inner.handle_async_request(request)

    w.transport = Watching()
    w.restart()
    for key in ("None", "", "SECRETKEY" * 5):
        reply = await w.get(PRICE, b"symbol=ETHUSDT", x_mbx_apikey=key)
        assert reply.status == 200
        assert (await w.get("/api/v3/klines", b"symbol=ETHUSDT&interval=1m", x_mbx_apikey=key)).status == 200
    assert len(reads(w, PRICE)) == 1
    assert all("x-mbx-apikey" not in headers for headers in seen)
    assert all("SECRETKEY" not in str(event) for event in w.events)


BAD = [
    (b"symbol=ETHUSDT&" + b"&".join(b"p%d=1" % n for n in range(500)), {400}),
    (b"&".join(b"p%d=1" % n for n in range(10_000)), {414}),
    (b"symbol=" + b"A" * 65_536, {414}),
    (b"symbols=%5B" + b",".join(b"%%22S%d%%22" % n for n in range(5_000)) + b"%5D", {414}),
    (b"symbols=%5B" + b",".join(b"%%22S%d%%22" % n for n in range(500)) + b"%5D", {400}),
    (b"symbol=ETH%00USDT", {400}),
    (b"symbol=ETH%0d%0aX-Evil:1", {400}),
    (b"symbol=..%2F..%2Forder", {400}),
    (b"symbol=ETHUSDT&symbol=ETHUSDT", {400}),
    (b"symbols=%5B%5B%5D%5D", {400}),
    (b"symbols=%7B%7D", {400}),
    (b"symbols=%5B1%5D", {400}),
]


@pytest.mark.virtual
@pytest.mark.parametrize("path", [PRICE, "/api/v3/exchangeInfo", "/api/v3/klines"])
@pytest.mark.parametrize(("query", "statuses"), BAD)
async def test_bad_input_is_a_clean_refusal_at_once(path: str, query: bytes, statuses: set[int]) -> None:
    w = world()
    await w.get("/api/v3/exchangeInfo", b"")
    before = len(w.exchange.log)
    reply = await w.get(path, query)
    assert reply.status in statuses
    assert json.loads(reply.body).keys() == {"code", "msg"}
    assert len(w.exchange.log) == before


@pytest.mark.parametrize("path", ["/api/v3/ticker%2Fprice", "/api/v3//ticker/price", "/api/v3/ticker/price/"])
async def test_other_spellings_of_a_path_are_other_paths(path: str) -> None:
    assert (await ServingHarness().ask(path, b"symbol=ETHUSDT")).status == 404


@pytest.mark.virtual
async def test_a_body_on_a_get_is_not_read() -> None:
    w = world()
    reply = await ask(w.app, PRICE, b"symbol=ETHUSDT", body=b'{"symbol":"BTCUSDT"}' * 1_000)
    assert (reply.status, json.loads(reply.body)["symbol"]) == (200, "ETHUSDT")


@pytest.mark.virtual
async def test_unknown_paths_are_forwarded_where_that_is_set() -> None:
    w = world()
    app = crossing(w, forward=True)
    reply = await ask(app, "/api/v3/brandNew", b"b=2&a=1")
    assert reply.status == 404 or json.loads(reply.body)["code"] == -1006  # what the exchange says of it
    assert reads(w, "/api/v3/brandNew")[:1] == ["a=1&b=2"]
    used = next(status.used for status in w.governor.status() if status.family == "spot")
    assert used >= 20
    for path in ("/nothing/at/all", "/api/v3/../x", "/sapi/v1/account", "/api/v3/order"):
        assert (await ask(app, path, b"")).status in {403, 404}
    assert len(reads(w, "/nothing/at/all")) == 0


async def test_a_proxy_named_in_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """`HTTP_PROXY` for a plain upstream here; `HTTPS_PROXY` takes the same way, with CONNECT."""
    lines: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.append(await reader.readline())
        writer.write(b"HTTP/1.1 502 no tunnel here\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    proxy = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = proxy.sockets[0].getsockname()[1]
    for name in ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:secret@127.0.0.1:{port}")
    settings = load({"HTTPS_PROXY": f"http://user:secret@127.0.0.1:{port}"}, None)
    assert settings.https_proxy is not None
    rest = MarketClient("https://exchange.invalid", timeout_s=2.0, concurrency=1)
    with pytest.raises(Exception, match="proxy"):
        await rest.get(UpstreamRequest("/api/v3/time", "", (), 1, 1_000), lambda _head: None)
    assert lines == [b"CONNECT exchange.invalid:443 HTTP/1.1\r\n"]
    await rest.aclose()
    proxy.close()


def test_every_path_belongs_to_one_market_or_both_futures() -> None:
    assert not KLINE_ENDPOINTS.keys() & ENDPOINTS.keys()
    for path, found in ENDPOINTS.items():
        assert [each.market for each in found] in (
            [Market.SPOT],
            [Market.USDM],
            [Market.COINM],
            [Market.USDM, Market.COINM],
        ), path


@pytest.mark.virtual
async def test_time_and_ping_take_what_binance_takes() -> None:
    w = world()
    for path in ("/api/v3/time", "/api/v3/ping", "/fapi/v1/time", "/dapi/v1/ping"):
        for query, headers in (
            (b"", {}),
            (b"x=1", {}),
            (b"", {"x_mbx_time_unit": "MICROSECOND"}),
            (b"", {"x_mbx_time_unit": "FORTNIGHT"}),
        ):
            ours = await w.get(path, query, **headers)
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            async with httpx.AsyncClient(transport=w.transport, base_url="http://exchange.test") as client:
                theirs = await client.get(f"{path}?{query.decode()}", headers=named)
            if (path, "FORTNIGHT" in headers.values()) == ("/api/v3/ping", True):
                continue  # it has no time in it: what the exchange says of a bad unit there is unverified
            assert (ours.status, ours.body) == (theirs.status_code, theirs.content), (path, query, headers)


async def test_polling_with_a_tag_by_fetch_costs_no_reads() -> None:
    house = ServingHarness()
    tag = (await house.ask()).headers["etag"]
    await house.ask()
    asked = len(house.candles.asked)
    headers = {"if-none-match": tag, "pragma": "no-cache", "cache-control": "no-cache"}  # Node 20
    for _ in range(3):
        assert (await house.ask(headers=headers)).status == 304
    assert len(house.candles.asked) == asked


@pytest.mark.parametrize("path", ["/api/v3/klines", PRICE, "/api/v3/exchangeInfo", "/api/v3/time", "/api/v3/ping"])
async def test_the_binary_format_is_refused_not_replaced_by_json(path: str) -> None:
    """As Binance does where SBE is off: a client that accepts nothing else would decode the JSON's bytes."""
    house = ServingHarness()
    reply = await house.ask(path, headers={"accept": "application/sbe", "x-mbx-sbe": "3:1"})
    assert (reply.status, json.loads(reply.body)) == (406, {"code": -1155, "msg": "SBE is not enabled."})
    assert house.candles.asked == []
    assert house.recorder.records[0].result == "refused"


async def test_a_client_of_the_binary_format_that_takes_json_too_gets_json() -> None:
    house = ServingHarness()
    for accept in ("application/sbe, application/json", "*/*"):
        assert (await house.ask(headers={"accept": accept, "x-mbx-sbe": "3:1"})).status == 200
    futures = await house.ask("/fapi/v1/klines", headers={"accept": "application/sbe"})
    assert futures.status == 200  # futures know no SBE and ignore the header


async def test_a_ready_answer_is_not_for_a_client_of_the_binary_format() -> None:
    house = ServingHarness()
    for _ in range(3):
        assert "Accept" in (await house.ask()).headers["vary"].split(", ")
    assert (await house.ask(headers={"accept": "application/sbe"})).status == 406
