"""TLS in front: nginx takes the file, and what it passes on is what mdcache said."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from mdcache.serving.routes import OPS_PATHS
from tests.deploy.conftest import call
from tests.deploy.proxies import Upstream, certificate, client_of, nginx, nginx_configured
from tests.support.processes import daemon, free_port, sim
from tests.support.programs import find

pytestmark = [pytest.mark.processes, pytest.mark.untraced]

TOKEN = "sesame"


def test_nginx_takes_the_file(tmp_path: Path) -> None:
    program = find("nginx")
    done = call(
        program, "-t", "-q", "-c", nginx_configured(tmp_path, certificate(tmp_path), free_port(), "127.0.0.1:9")
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """A client of the daemon itself, and one that goes through nginx."""
    folder = tmp_path_factory.mktemp("nginx")
    with (
        sim() as upstream,
        daemon(upstream, compress="on", admin_token=TOKEN, open_candle_ttl_s="60") as (url, _),
        nginx(url.removeprefix("http://"), folder) as address,
        httpx.Client(base_url=url, trust_env=False) as direct,
        client_of(address) as through,
    ):
        yield direct, through


TOLD = ("cache-status", "x-mdcache-as-of", "etag", "content-encoding", "vary", "cache-control", "content-type")


def test_bodies_and_their_headers_are_passed_on(both: tuple[httpx.Client, httpx.Client]) -> None:
    direct, through = both
    path = "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=500&endTime=1700000000000"
    direct.get(path)
    here, there = direct.get(path), through.get(path)
    assert there.status_code == 200
    assert there.content == here.content
    assert there.headers["content-encoding"] == "gzip"
    assert re.fullmatch(r'"[^"]+"', there.headers["etag"])  # strong still
    told = {name: there.headers[name] for name in TOLD if name not in ("cache-status", "x-mdcache-as-of")}
    assert told == {name: here.headers[name] for name in told}
    assert through.get(path, headers={"if-none-match": there.headers["etag"]}).status_code == 304


def test_refusals_go_through(both: tuple[httpx.Client, httpx.Client]) -> None:
    _, through = both
    refused = through.get("/api/v3/klines?symbol=NONE&interval=1h")
    assert (refused.status_code, refused.json()["code"]) == (400, -1121)
    assert through.get("/api/v3/account?signature=x").status_code == 403


def test_a_long_list_of_symbols_goes_through(both: tuple[httpx.Client, httpx.Client]) -> None:
    direct, through = both
    listed = [
        entry["symbol"] for entry in direct.get("/api/v3/exchangeInfo").json()["symbols"] if entry["symbol"].isascii()
    ]
    names = (listed * 400)[:400]
    found = through.get("/api/v3/ticker/price", params={"symbols": '["' + '","'.join(names) + '"]'})
    assert found.status_code != 414


def test_operators_pages_are_for_this_host_and_orders_for_nobody(both: tuple[httpx.Client, httpx.Client]) -> None:
    _, through = both
    shown = OPS_PATHS - {path for path in OPS_PATHS if "/admin/" in path}
    assert {path for path in OPS_PATHS if through.get(path).status_code == 200} == shown
    order = {"family": "spot", "action": "open"}
    refused = through.post("/v1/admin/gate", json=order, headers={"authorization": f"Bearer {TOKEN}"})
    assert (refused.status_code, "through this proxy" in refused.text) == (403, True)


def test_operators_pages_are_for_no_other_host(tmp_path: Path) -> None:
    def elsewhere(text: str) -> str:
        assert "allow 127.0.0.1;" in text
        return text.replace("allow 127.0.0.1;", "allow 192.0.2.1;")

    with Upstream().serve() as upstream, nginx(upstream.address, tmp_path, elsewhere) as address:
        assert address.ask("/api/v3/ping").status == 200
        assert {path for path in OPS_PATHS if address.ask(path).status == 200} == {"/healthz", "/readyz"}
        assert address.ask("/metrics").status == 403
