"""TLS in front: nginx takes the file, and what it passes on is what mdcache said."""

import re
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.deploy.conftest import DEPLOY, call
from tests.support.processes import daemon, free_port, running, sim
from tests.support.programs import find

pytestmark = pytest.mark.processes

CONFIG = (DEPLOY / "nginx" / "mdcache.conf").read_text()
TOKEN = "sesame"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate of our own."""
    folder = tmp_path_factory.mktemp("tls")
    openssl = find("openssl")
    subject = ("-subj", "/CN=mdcache.example", "-addext", "subjectAltName=DNS:mdcache.example,IP:127.0.0.1")
    files = ("-keyout", folder / "mdcache.key", "-out", folder / "mdcache.crt")
    done = call(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *files)
    assert done.returncode == 0, done.stderr
    return folder


def configured(folder: Path, tls: Path, port: int, upstream_port: str) -> Path:
    """The shipped file with this test's ports and folders, inside a whole configuration."""
    site = CONFIG.replace("listen [::]:443 ssl http2;", "").replace("listen 443", f"listen 127.0.0.1:{port}")
    site = site.replace("127.0.0.1:8700", f"127.0.0.1:{upstream_port}").replace("/etc/nginx/tls", str(tls))
    assert "443" not in site.replace(str(port), "").replace(upstream_port, "")
    paths = "\n".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    file = folder / "nginx.conf"
    file.write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;\n"
        f"events {{ worker_connections 64; }}\nhttp {{ {paths}\n{site}\n}}\n"
    )
    return file


def test_nginx_takes_the_file(tmp_path: Path, certificate: Path) -> None:
    nginx = find("nginx")
    done = call(nginx, "-t", "-q", "-c", configured(tmp_path, certificate, free_port(), "8700"))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, certificate: Path) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """A client of the daemon itself, and one that goes through nginx."""
    nginx, folder, port = find("nginx"), tmp_path_factory.mktemp("nginx"), free_port()
    trusted = ssl.create_default_context(cafile=str(certificate / "mdcache.crt"))
    with sim() as upstream, daemon(upstream, compress="on", admin_token=TOKEN, open_candle_ttl_s="60") as (url, _):
        file = configured(folder, certificate, port, url.rsplit(":", 1)[1])
        # nothing but TLS is spoken there: to plain HTTP it answers 400, which says that it is up
        with (
            running([nginx, "-c", str(file)], f"http://127.0.0.1:{port}/"),
            httpx.Client(base_url=url, trust_env=False) as direct,
            httpx.Client(base_url=f"https://127.0.0.1:{port}", trust_env=False, verify=trusted) as through,
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


def test_operators_paths_are_for_this_host(both: tuple[httpx.Client, httpx.Client]) -> None:
    _, through = both
    assert through.get("/metrics").status_code == 200
    closed = through.post("/v1/admin/gate", json={"family": "spot", "action": "open"})
    assert closed.status_code == 401
    (rules,) = re.findall(r"location ~ (\S+) \{([^}]*)\}", CONFIG)
    assert re.findall(r"(allow|deny) ([^;]+);", rules[1]) == [("allow", "127.0.0.1"), ("allow", "::1"), ("deny", "all")]
    assert [path for path in ("/metrics", "/v1/status", "/v1/admin/gate") if not re.search(rules[0], path)] == []
    assert not re.search(rules[0], "/fapi/v1/klines")
