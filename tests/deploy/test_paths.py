"""What passes a balancer: what consumers need, in its plain spelling, and no admin path in any."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from mdcache.exchange.endpoints import ENDPOINTS
from mdcache.exchange.exchange_info import EXCHANGE_INFO_ENDPOINTS
from mdcache.exchange.markets import KLINE_ENDPOINTS, Market
from mdcache.serving.routes import NATIVE_PATHS, OPS_PATHS, STREAM_PATH
from tests.deploy.proxies import OK, Address, Upstream, haproxy, nginx
from tests.support.processes import daemon, free_port, sim
from tests.support.waiting import eventually

pytestmark = [pytest.mark.processes, pytest.mark.untraced]

PROXIES = ("haproxy", "nginx")
TOKEN = "Authorization: Bearer sesame"
ADMIN_SPELLINGS = (
    "/v1/admin/purge",
    "/v1/admin/purge?x=/api/v3/klines",
    "/v1/admin/purge#/api/v3/klines",
    "/v1/admin/purge/",
    "/v1/admin/gate",
    "/v1/admin/warm",
    "/v1/admin/audit",
    "/%76%31/admin/purge",
    "/v1/%61dmin/purge",
    "/v1/admin%2Fpurge",
    "/v1%2fadmin%2fpurge",
    "/v1%5Cadmin%5Cpurge",
    "/%2576%2531/admin/purge",
    "//v1/admin/purge",
    "/v1//admin/purge",
    "/./v1/admin/purge",
    "/v1/./admin/purge",
    "/v1/x/../admin/purge",
    "/V1/admin/purge",
    "/v1/Admin/purge",
    "/v1/admin;x/purge",
    "/v1/admin/purge%00",
    "/v1/admin/purge%20",
    "/v1/admin/purge%3Fx",
    "/v1\\admin\\purge",
    "/api/../v1/admin/purge",
    "/api/v3/../../v1/admin/purge",
    "/api/v3/klines/../../../v1/admin/purge",
    "/api/v3/%2e%2e/%2e%2e/v1/admin/purge",
    "/api/v3/..%2f..%2fv1/admin/purge",
    "/api/v3/..;/..;/v1/admin/purge",
    "/healthz/../v1/admin/purge",
    "/ws/../v1/admin/purge",
    "/ws/%2e%2e/v1/admin/purge",
    "/usdm/ws/a/%2E%2e/%2e%2e/%2e%2e/v1/admin/purge",
    "/stream/ws/..%2f..%2fv1/admin/purge",
    "/ws//v1/admin/purge",
    "/v1/stream/../admin/purge",
    "http://localhost/v1/admin/purge",
    "http://localhost/%76%31/admin/purge",
    "http://localhost/api/../v1/admin/purge",
    "http://localhost//v1/admin/purge",
    "HTTP://localhost/v1/admin/purge",
)
REFUSED = {403, 404, 426}  # 426: it is the path of a WebSocket
CONSUMERS = sorted(
    {
        *KLINE_ENDPOINTS,
        *ENDPOINTS,
        *(each.path for each in EXCHANGE_INFO_ENDPOINTS),
        *(f"{market.prefix}{name}" for market in Market for name in ("time", "ping")),
        "/healthz",
        "/api/v3/account",  # refused by mdcache itself, which says why
        "/sapi/v1/system/status",
        "/ws",
        "/ws/btcusdt@kline_1m/!miniTicker@arr",
        "/ws/btcusdt%40kline_1m%2Fethusdt%40aggTrade",
        "/ws/%E5%B8%81%E5%AE%89usdt@trade",
        "/ws/0",
        "/stream",
        "/stream/ws",
        "/stream/ws/0",
        "/usdm/ws",
        "/usdm/stream",
        "/usdm/market/stream",
        "/usdm/public/ws/btcusdt@depth",
        "/usdm/private/ws",
        "/market/stream",
        "/coinm/ws/btcusd_perp@kline_1m",
        *NATIVE_PATHS,
        STREAM_PATH,
        "/fapi/v3/some-New_path",
    }
)

Pair: TypeAlias = tuple[Address, Upstream]


@contextlib.contextmanager
def proxy(name: str, upstream: str, folder: Path) -> Iterator[Address]:
    """The proxy of that name in front of the upstream."""
    if name == "nginx":
        with nginx(upstream, folder) as address:
            yield address
    else:
        with haproxy(upstream, upstream, upstream) as address:
            yield address


@pytest.fixture(scope="module", params=PROXIES)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A proxy, and the server behind it, which notes what reaches it."""
    with (
        Upstream().serve() as upstream,
        proxy(request.param, upstream.address, tmp_path_factory.mktemp(request.param)) as address,
    ):
        eventually(lambda: address.ask("/api/v3/ping").status == 200)
        yield address, upstream


@pytest.mark.parametrize("target", ADMIN_SPELLINGS)
def test_no_spelling_of_an_admin_path_passes(both: Pair, target: str) -> None:
    address, upstream = both
    upstream.seen.clear()
    for method in ("POST", "GET", "DELETE"):
        assert address.ask(target, method, TOKEN).status in {400, 403}
    assert upstream.seen == []


@pytest.mark.parametrize("path", CONSUMERS)
def test_what_consumers_need_passes_as_it_was_spelled(both: Pair, path: str) -> None:
    address, upstream = both
    upstream.seen.clear()
    target = f"{path}?symbol=%42TCUSDT&x=a//b/../c"
    assert address.ask(target).status == 200
    assert upstream.seen == [f"GET {target} HTTP/1.1"]


def test_a_refusal_is_json_that_says_what_to_do(both: Pair) -> None:
    address, _ = both
    for target in ("/v1/admin/purge", "/nothing"):
        refused = address.ask(target)
        assert (refused.status, refused.fields["content-type"]) == (403, "application/json")
        told = json.loads(refused.body)
        assert (told.keys(), told["code"]) == ({"code", "msg"}, -2015)
        assert "not served through this" in told["msg"]


def test_haproxy_passes_none_of_the_operators_paths_but_health() -> None:
    with Upstream().serve() as upstream, haproxy(*(upstream.address,) * 3) as address:
        eventually(lambda: address.ask("/api/v3/ping").status == 200)
        passed = {path for path in OPS_PATHS if address.ask(path).status == 200}
        assert passed == {"/healthz", "/readyz"}


def silent(text: str) -> str:
    """Make nginx lose patience in a second, and answer 503 on one path."""
    assert "proxy_read_timeout 15s" in text
    text = text.replace("proxy_read_timeout 15s", "proxy_read_timeout 1s")
    before, brace, after = text.rpartition("}")
    return f"{before} location = /api/v3/closed {{ return 503; }} {brace}{after}"


@pytest.mark.parametrize(
    ("name", "case", "status", "code"),
    [
        ("haproxy", "garbage", 502, -1001),
        ("haproxy", "dead", 503, -1001),
        ("haproxy", "hangs", 504, -1007),
        ("nginx", "garbage", 502, -1001),
        ("nginx", "dead", 502, -1001),
        ("nginx", "closed", 503, -1001),
        ("nginx", "hangs", 504, -1007),
    ],
)
def test_a_balancers_own_failure_is_json_with_retry_after(
    tmp_path: Path, name: str, case: str, status: int, code: int
) -> None:
    garbage = b"nonsense\r\n\r\n" if name == "haproxy" else b"HTTP/1.1 200 OK\r\nX: \0\r\n\r\n"  # to each of them
    path = "/api/v3/closed" if case == "closed" else "/api/v3/ping"
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(Upstream({"garbage": garbage, "hangs": b""}.get(case, OK)).serve())
        to = f"127.0.0.1:{free_port()}" if case == "dead" else upstream.address
        if name == "nginx":
            address = stack.enter_context(nginx(to, tmp_path, silent))
        else:
            address = stack.enter_context(haproxy(to, to, to, folder=tmp_path, timeout="1s"))
        # HAProxy's first checks may still be out: until then it says 503
        eventually(lambda: address.ask(path).status == status)
        reply = address.ask(path)
    assert reply.fields["content-type"] == "application/json"
    assert int(reply.fields["retry-after"]) in range(1, 6)
    told: dict[str, Any] = json.loads(reply.body)
    assert (told["code"], set(told)) == (code, {"code", "msg"})
    assert int(reply.fields["content-length"]) == len(reply.body)


@pytest.mark.parametrize("name", PROXIES)
def test_mdcaches_own_refusals_pass_unchanged(tmp_path: Path, name: str) -> None:
    with sim() as upstream, daemon(upstream) as (url, _), proxy(name, url.removeprefix("http://"), tmp_path) as address:
        eventually(lambda: address.ask("/api/v3/ping").status == 200)
        direct = Address(int(url.rsplit(":", 1)[1]))
        for target in ("/api/v3/account", "/api/v3/nothing", "/api/v3/klines?symbol=NONE&interval=1h"):
            here, there = direct.ask(target), address.ask(target)
            assert (there.status, there.body) == (here.status, here.body)
            assert here.status in {400, 403, 404}
        only = ("/api/v3/klines?symbol=BTCUSDT&interval=1h", "GET", "Cache-Control: only-if-cached")
        here, there = direct.ask(*only), address.ask(*only)
        assert (there.status, there.body) == (here.status, here.body)
        assert here.status == 504


def test_the_daemon_takes_an_admin_path_in_its_plain_spelling_only() -> None:
    with sim() as upstream, daemon(upstream, admin_token="sesame") as (url, _):
        direct = Address(int(url.rsplit(":", 1)[1]))
        for target in ADMIN_SPELLINGS:
            plain = target.startswith(("/v1/admin", "http://localhost/v1/admin", "HTTP://localhost/v1/admin"))
            plain = plain and not target.endswith("/") and not set("%;") & set(target)
            assert direct.ask(target, "POST").status in ({401} if plain else REFUSED), target
            if not plain:
                assert direct.ask(target, "POST", TOKEN).status in REFUSED, target
        assert direct.ask("/v1/admin/purge", "POST", TOKEN).status == 200
