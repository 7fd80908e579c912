"""The operators' paths (docs/design.md#operations)."""

import asyncio
import json
from typing import Any

import pytest

from mdcache.exchange.klines import parse_klines
from mdcache.exchange.markets import KLINE_ENDPOINTS, Family
from mdcache.results import MEANINGS
from mdcache.serving.ports import Readiness
from tests.support.asgi_client import ask
from tests.support.served_daemon import TOKEN as SERVED_TOKEN
from tests.support.served_daemon import ServedDaemon
from tests.support.serving_harness import TOKEN, ServingHarness, series

ADMIN = {"authorization": f"Bearer {TOKEN}"}


async def test_healthz() -> None:
    reply = await ServingHarness().ask("/healthz", b"")
    assert (reply.status, reply.body) == (200, b'{"status":"ok"}')


async def test_head_of_healthz() -> None:
    reply = await ServingHarness().ask("/healthz", b"", method="HEAD")
    assert (reply.status, reply.headers["content-length"]) == (200, "15")


async def test_readyz() -> None:
    house = ServingHarness()
    house.readiness = Readiness(degraded=("gate of futures is closed",))
    reply = await house.ask("/readyz", b"")
    assert reply.status == 200
    assert json.loads(reply.body) == {"ready": True, "reasons": [], "degraded": ["gate of futures is closed"]}
    house.readiness = Readiness(reasons=("no clock",))
    reply = await house.ask("/readyz", b"")
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    assert json.loads(reply.body)["reasons"] == ["no clock"]


PROTECTED = ("/", "/v1/status", "/v1/admin/warm")


@pytest.mark.parametrize("path", PROTECTED)
@pytest.mark.parametrize(
    ("host", "answered"),
    [
        ("localhost:8700", True),
        ("LOCALHOST", True),
        ("localhost.:8700", True),
        ("desk.localhost", True),
        ("127.0.0.1:8700", True),
        ("192.0.2.7", True),
        ("[::1]:8700", True),
        ("[fe80::1]", True),
        ("mdcache:8700", True),  # a service of compose, or of the same namespace
        ("host.docker.internal:8700", True),
        ("Desk.Example:8700", True),
        ("a.b.svc", True),
        ("", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example:8700", False),
        ("localhost.evil.example", False),
        ("xdesk.example", False),
        ("a.desk.example", False),
        ("svc.evil.example", False),
        ("evil.example:8700:8700", False),
        ("[::1].evil.example", False),
    ],
)
async def test_a_rebound_name_gets_nothing(path: str, host: str, answered: bool) -> None:
    house = ServingHarness(hosts=("desk.example", ".svc"))
    reply = await house.ask(path, b"", headers=ADMIN | {"host": host})
    assert (reply.status, b"MDCACHE_ALLOWED_HOSTS" in reply.body) == ((200, False) if answered else (403, True))
    if not answered:
        assert json.loads(reply.body)["code"] == -2015


@pytest.mark.virtual
async def test_hosts_come_from_the_settings_and_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "box.corp.example")
    w = ServedDaemon()
    w.serve(host="lan.example", allowed_hosts=("desk.example",))
    for host in ("box.corp.example", "lan.example:8700", "desk.example"):
        assert (await ask(w.app, "/v1/status", b"", headers={"host": host})).status == 200
    assert (await ask(w.app, "/v1/status", b"", headers={"host": "evil.example"})).status == 403
    await w.aclose()


async def test_any_host_may_be_allowed_and_is_on_other_paths() -> None:
    evil = {"host": "evil.example"}
    for path in PROTECTED:
        assert (await ServingHarness(hosts=("*",)).ask(path, b"", headers=ADMIN | evil)).status == 200
    for path in ("/healthz", "/readyz", "/metrics", "/docs"):
        assert (await ServingHarness().ask(path, b"", headers=evil)).status == 200
    assert (await ServingHarness().ask(headers=evil)).status == 200


LINK = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
EMBEDDED = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}
FRAMED = LINK | {"sec-fetch-dest": "iframe"}
READ = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}


@pytest.mark.parametrize("path", [*PROTECTED, "/chart", "/v1/series", "/v1/admin/purge", "/v1/admin/gate"])
async def test_pages_of_other_sites_get_nothing_but_links_to_the_pages_work(path: str) -> None:
    """A browser sends them plain GETs and POSTs without asking; links are opened apart from the page that has them."""
    house = ServingHarness(cors_origins=("https://desk.example",))
    method = "POST" if path in {"/v1/admin/purge", "/v1/admin/gate"} else "GET"
    for sent in (LINK, EMBEDDED, FRAMED, READ, READ | {"origin": "https://evil.example"}):
        reply = await house.ask(path, b"", method=method, headers=ADMIN | sent)
        if sent is LINK and path in {"/", "/chart"}:
            assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
        else:
            assert (reply.status, reply.headers["content-type"]) == (403, "application/json")
            assert json.loads(reply.body)["code"] == -2015
            assert "cross-site" in json.loads(reply.body)["msg"]
    assert (await house.ask(path, b"", method="POST", headers=ADMIN | LINK)).status == 403
    for sent in ({}, *({"sec-fetch-site": site} for site in ("same-origin", "same-site", "none"))):
        reply = await house.ask(path, b"", method=method, headers=ADMIN | sent)
        assert b"cross-site" not in reply.body
    if method == "GET":
        listed = await house.ask(path, b"", headers=ADMIN | READ | {"origin": "https://desk.example"})
        assert listed.status == 200


async def test_pages_of_other_sites_may_ask_for_market_data_and_what_tells_nothing() -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/docs", "/page/icon.svg"):
        assert (await ServingHarness().ask(path, b"", headers=EMBEDDED)).status == 200
    assert (await ServingHarness().ask(headers=READ)).status == 200


async def test_metrics() -> None:
    reply = await ServingHarness().ask("/metrics", b"")
    assert (reply.status, reply.body) == (200, b"# page\n")
    assert reply.headers["content-type"] == "text/plain; version=0.0.4"


async def test_status() -> None:
    house = ServingHarness()
    house.clock.seconds += 12.0
    await house.ask()
    await house.ask()
    page = json.loads((await house.ask("/v1/status", b"")).body)
    assert page["version"] == "1.2.3"
    assert page["uptime_s"] == 12.0
    assert page["ready"] is True
    assert [family["family"] for family in page["families"]] == ["spot", "futures"]
    assert page["families"][0]["gate_state"] == "open"
    assert page["clocks"]["usdm"]["measured"] is False
    assert page["symbols"]["coinm"] == {"count": 0, "age_s": None}
    none = {"rest": 0, "stream": 0, "derived": 0}
    assert page["series"] == {
        "count": 0,
        "rows": 0,
        "voids": {"spot": 0, "usdm": 0, "coinm": 0},
        "tails": {"spot": none, "usdm": none, "coinm": none},
    }
    assert page["streams"] == []
    assert page["flights"] == 0
    assert page["calls"] == page["requests"] == page["requests_last_minute"] == {}
    assert page["shares"]["total"] == page["shares"]["last_minute"]
    assert page["shares"]["total"] == {
        "requests": 0,
        "questions": 0,
        "hit_ratio": None,
        "marked": None,
        "failed": None,
    }
    assert page["results"] == MEANINGS
    assert page["events"] == []
    assert len(page["weights"]["futures"]["by_second"]) == 300
    assert page["stores"]["memory"]["ready_answers"] == 1
    assert page["stores"]["memory"]["bytes"] > 0
    assert page["settings"] == {"MDCACHE_ADMIN_TOKEN": "(hidden)", "MDCACHE_PORT": "8700"}
    assert TOKEN not in json.dumps(page)


async def test_the_shares_during_a_ban() -> None:
    house = ServingHarness()
    house.results.update({"hit": 900, "stale": 90, "error": 10, "refused": 5})
    house.last_minute.update({"stale": 90, "error": 10})
    found = json.loads((await house.ask("/v1/status", b"")).body)["shares"]
    assert found["total"] == {"requests": 1_005, "questions": 1_000, "hit_ratio": 0.9, "marked": 0.09, "failed": 0.01}
    assert found["last_minute"]["hit_ratio"] == 0.0


@pytest.mark.parametrize("path", ["/v1/admin/purge", "/v1/admin/gate", "/v1/admin/warm", "/v1/admin/audit"])
@pytest.mark.parametrize(
    ("token", "headers", "status"),
    [
        (None, ADMIN, 403),
        ("", ADMIN, 403),
        (TOKEN, {}, 401),
        (TOKEN, {"authorization": "Bearer wrong"}, 401),
        (TOKEN, {"authorization": f"Basic {TOKEN}"}, 401),
        (TOKEN, {"authorization": TOKEN}, 401),
        (TOKEN, {"authorization": "Bearer \xff\xfe"}, 401),
    ],
)
async def test_who_may_not(path: str, token: str | None, headers: dict[str, str], status: int) -> None:
    house = ServingHarness(token=token)
    reply = await house.ask(path, b"", method="POST", headers=headers, body=b"{}")
    assert reply.status == status
    assert json.loads(reply.body).keys() == {"code", "msg"}
    assert TOKEN.encode() not in reply.body
    assert ("www-authenticate" in reply.headers) is (status == 401)
    assert house.gates.orders == []


@pytest.mark.parametrize("path", ["/v1/admin/purge", "/v1/admin/gate"])
async def test_admin_is_posted(path: str) -> None:
    reply = await ServingHarness().ask(path, b"", headers=ADMIN)
    assert reply.status == 405
    assert json.loads(reply.body)["code"] == -1020


def fill(house: ServingHarness) -> None:
    for path, symbol, interval in [
        ("/api/v3/klines", "BTCUSDT", "1m"),
        ("/api/v3/klines", "BTCUSDT", "1h"),
        ("/api/v3/klines", "ETHUSDT", "1m"),
        ("/fapi/v1/klines", "BTCUSDT", "1m"),
    ]:
        house.library.get_or_create(parse_klines(KLINE_ENDPOINTS[path], f"symbol={symbol}&interval={interval}", {}))


@pytest.mark.parametrize(
    ("body", "purged"),
    [
        (b"", 4),
        (b"{}", 4),
        (b'{"market":"spot"}', 3),
        (b'{"market":"spot","symbol":"btcusdt"}', 2),
        (b'{"market":"usdm","symbol":"BTCUSDT","interval":"1m"}', 1),
        (b'{"symbol":"BTCUSDT"}', 3),
        (b'{"symbol":"NONE"}', 0),
    ],
)
async def test_purge(body: bytes, purged: int) -> None:
    house = ServingHarness()
    fill(house)
    for _ in range(2):
        await house.ask()
    before = {series.key: series.settled_version for series in house.library}
    reply = await house.ask("/v1/admin/purge", b"", method="POST", headers=ADMIN, body=body)
    assert (reply.status, json.loads(reply.body)) == (200, {"purged": purged})
    assert sum(series.settled_version > before[series.key] for series in house.library) == purged
    assert len(house.readies) == 0


async def test_gate() -> None:
    house = ServingHarness()
    for body in (b'{"family":"futures","action":"open"}', b'{"family":"spot","action":"close","seconds":90.5}'):
        reply = await house.ask("/v1/admin/gate", b"", method="POST", headers=ADMIN, body=body)
        assert reply.status == 200
    assert house.gates.orders == [(Family.FUTURES, None), (Family.SPOT, 90.5)]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("gate", b""),
        ("gate", b"{}"),
        ("gate", b'{"family":"spot"}'),
        ("gate", b'{"family":"spot","action":"close"}'),
        ("gate", b'{"family":"spot","action":"open","seconds":5}'),
        ("gate", b'{"family":"spot","action":"close","seconds":-5}'),
        ("gate", b'{"family":"spot","action":"close","seconds":1e99}'),
        ("gate", b'{"family":"coinm","action":"open"}'),
        ("gate", b'{"family":"spot","action":"open","and":1}'),
        ("warm", b"{}"),
        ("warm", b'{"market":"spot","symbols":[],"intervals":["1m"],"since_ms":0}'),
        ("warm", b'{"market":"spot","symbols":["BTCUSDT"],"intervals":["1m"],"since_ms":-1}'),
        ("warm", b'{"market":"spot","symbols":["BTCUSDT"],"intervals":["1m"],"since_ms":2,"until_ms":1}'),
        ("audit", b'{"rows":0}'),
        ("audit", b'{"rows":-5}'),
        ("audit", b'{"rows":1000000000}'),
        ("audit", b'{"rows":"many"}'),
        ("audit", b'{"market":"binance"}'),
        ("audit", b'{"row":5}'),
        ("purge", b'{"market":"binance"}'),
        ("purge", b'{"symbol":5}'),
        ("purge", b"[]"),
        ("purge", b"nonsense"),
        ("purge", b"\xff"),
    ],
)
async def test_bad_orders(path: str, body: bytes) -> None:
    house = ServingHarness()
    reply = await house.ask(f"/v1/admin/{path}", b"", method="POST", headers=ADMIN, body=body)
    assert reply.status == 400
    assert json.loads(reply.body).keys() == {"code", "msg"}
    assert house.gates.orders == []


WARM = b'{"market":"spot","symbols":["BTCUSDT"],"intervals":["1m","1h"],"since_ms":1700000000000}'


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_warming_is_for_admins_in_every_method(method: str) -> None:
    reply = await ServingHarness().ask("/v1/admin/warm", b"", method=method)
    assert reply.status == 401


@pytest.mark.virtual
async def test_audit() -> None:
    w = ServedDaemon()
    await w.get()

    async def call(method: str, body: bytes = b"", token: str = SERVED_TOKEN) -> tuple[int, dict[str, Any]]:
        headers = {"authorization": f"Bearer {token}"}
        reply = await ask(w.app, "/v1/admin/audit", b"", method=method, headers=headers, body=body)
        return reply.status, json.loads(reply.body)

    for method in ("GET", "POST", "DELETE"):
        assert (await call(method, token="wrong"))[0] == 401
    assert (await call("GET"))[1]["state"] == "idle"
    status, told = await call("POST", b'{"rows":100,"market":"spot","symbol":"ethusdt","interval":"1m"}')
    assert (status, told["state"], told["rows_asked"], told["rows"]) == (200, "running", 100, 0)
    assert (await call("POST"))[0] == 409
    while (told := (await call("GET"))[1])["state"] == "running":
        await w.clock.sleep(0.1)
    assert (told["state"], told["verdicts"]["same"], told["differences"]) == ("done", told["rows"], [])
    assert told["rows"] >= 100
    assert (await call("POST", b'{"symbol":"NONEUSDT"}'))[0] == 200
    await w.clock.sleep(1)
    status, told = await call("DELETE")
    assert (status, told["state"], told["detail"]) == (200, "stopped", "no final rows of this are kept")


async def test_warm() -> None:
    house = ServingHarness()

    async def ask(method: str, body: bytes = b"") -> tuple[int, dict[str, object]]:
        reply = await house.ask("/v1/admin/warm", b"", method=method, headers=ADMIN, body=body)
        return reply.status, json.loads(reply.body)

    assert (await ask("GET"))[1]["state"] == "idle"
    status, told = await ask("POST", WARM)
    assert (status, told["state"], told["series_done"], told["series_total"]) == (200, "running", 0, 2)
    status, refused = await ask("POST", WARM)
    assert (status, refused["code"]) == (409, -1015)
    status, told = await ask("DELETE")
    assert (status, told["state"]) == (200, "cancelled")
    assert (await ask("POST", WARM))[0] == 200
    for _ in range(100):
        await asyncio.sleep(0)
    status, told = await ask("GET")
    assert (told["state"], told["series_done"], told["rows"], told["errors"]) == ("done", 2, 2, {})
    assert house.candles.asked[-1][2].lane == "low"


async def test_long_orders() -> None:
    reply = await ServingHarness().ask("/v1/admin/purge", b"", method="POST", headers=ADMIN, body=b" " * 70_000)
    assert reply.status == 413


async def test_operators_paths_are_not_counted_as_clients() -> None:
    house = ServingHarness()
    await house.ask("/healthz", b"")
    await house.ask("/v1/status", b"")
    assert house.recorder.records == []


async def test_a_failing_page_is_a_500_without_a_traceback() -> None:
    house = ServingHarness()
    house.readiness = None  # type: ignore[assignment] # so that it fails
    reply = await house.ask("/readyz", b"")
    assert (reply.status, json.loads(reply.body)["code"]) == (500, -1000)
    assert type(house.event_log[0]).__name__ == "BackgroundTaskFailed"


async def test_the_status_of_many_series_lets_others_run() -> None:
    house = ServingHarness()
    for number in range(2_000):
        made = series(symbol=f"C{number}USDT")
        house.library._series[made.key] = made
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    page = json.loads((await house.ask("/v1/status", b"")).body)
    beside.cancel()
    assert page["series"]["count"] == 2_000
    assert turns > 2_000 // 500
