"""A real nginx and a real Varnish as caches between the daemon and its clients, at their defaults."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.support.processes import Process, daemon, free_port, running, sim
from tests.support.programs import find
from tests.support.waiting import eventually

pytestmark = [pytest.mark.processes, pytest.mark.untraced]

KLINES = "/api/v3/klines"
MICROS = {"x-mbx-time-unit": "MICROSECOND"}
TTL_S = 2
ORIGIN = "https://desk.example"

NGINX = """
user root; daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 64; }}
http {{
    client_body_temp_path {folder}/a; proxy_temp_path {folder}/b;
    fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
    access_log off;
    proxy_cache_path {folder}/cache keys_zone=answers:1m;
    server {{
        listen 127.0.0.1:{port};
        proxy_cache answers;
        add_header X-From $upstream_cache_status always;
        location / {{ proxy_pass {url}; }}
    }}
}}
"""


@dataclass(frozen=True)
class Cached:
    """The same daemon, asked directly and through a cache."""

    direct: httpx.Client
    through: httpx.Client
    counter: Iterator[int]

    def query(self, **parameters: int) -> dict[str, str | int]:
        """A question that was never asked."""
        return {"symbol": "BTCUSDT", "interval": "1m", "limit": 100 + next(self.counter), **parameters}

    def now_ms(self) -> int:
        return int(self.direct.get("/api/v3/time").json()["serverTime"])


def nginx(folder: Path, port: int, url: str) -> AbstractContextManager[Process]:
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, url=url))
    return running([find("nginx"), "-c", str(config)], f"http://127.0.0.1:{port}/healthz")


def varnish(folder: Path, port: int, url: str) -> AbstractContextManager[Process]:
    origin = url.removeprefix("http://")
    command = [find("varnishd"), "-F", "-n", str(folder / "work"), "-a", f"127.0.0.1:{port}", "-b", origin]
    return running([*command, "-s", "malloc,16m"], f"http://127.0.0.1:{port}/healthz")


@pytest.fixture(scope="module", params=[nginx, varnish])
def cached(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cached]:
    folder, port = tmp_path_factory.mktemp("cache"), free_port()
    with (
        sim() as exchange,
        daemon(exchange, open_candle_ttl_s=str(TTL_S), cors_origins=ORIGIN) as (url, _),
        request.param(folder, port, url),
        httpx.Client(base_url=url, trust_env=False) as direct,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as through,
    ):
        yield Cached(direct, through, iter(range(400)))


def from_cache(reply: httpx.Response) -> bool:
    """Whether the cache answered by itself."""
    assert reply.status_code == 200, reply.text
    return reply.headers.get("x-from") == "HIT" or len(reply.headers.get("x-varnish", "").split()) > 1


def digits(reply: httpx.Response) -> int:
    return len(str(reply.json()[0][0]))


@pytest.mark.parametrize("bounds", [{}, {"startTime": 1_690_000_000_000, "endTime": 1_690_001_000_000}])
@pytest.mark.parametrize("first", [{}, MICROS])
def test_each_client_gets_its_own_unit(cached: Cached, first: dict[str, str], bounds: dict[str, int]) -> None:
    query = cached.query(**bounds)
    second: dict[str, str] = {} if first else MICROS
    for headers in (first, second, first, second, first, second):
        reply = cached.through.get(KLINES, params=query, headers=headers)
        assert digits(reply) == (16 if headers else 13)
    if bounds:  # immutable: the cache has both, and each is right
        assert from_cache(cached.through.get(KLINES, params=query, headers=second))


def wait_until(cached: Cached, due_ms: int) -> int:
    """Wait for a moment of the exchange's time, and return what time it is then."""
    eventually(lambda: cached.now_ms() >= due_ms)
    return cached.now_ms()


@pytest.mark.parametrize("pause_s", [1.9, 4.0])
def test_no_candle_outlives_its_lifetime(cached: Cached, pause_s: float) -> None:
    query = cached.query()
    cached.through.get(KLINES, params=query)
    now_ms = wait_until(cached, cached.now_ms() + int(pause_s * 1000))
    reply = cached.through.get(KLINES, params=query)
    age_ms = now_ms - int(reply.headers["x-mdcache-as-of"])
    assert age_ms <= (TTL_S + 1) * 1000, dict(reply.headers)  # HTTP's ages are whole seconds


def test_the_age_that_an_answer_has_on_arrival_counts(cached: Cached) -> None:
    path, query = "/api/v3/trades", {"symbol": "ETHUSDT", "limit": str(10 + next(cached.counter))}
    first = cached.direct.get(path, params=query)
    as_of = first.headers["x-mdcache-as-of"]
    lifetime_ms = 1000 * int(first.headers["cache-control"].split(",")[0].removeprefix("max-age="))
    assert lifetime_ms >= 5_000
    wait_until(cached, int(as_of) + lifetime_ms - 2_500)
    assert cached.through.get(path, params=query).headers["x-mdcache-as-of"] == as_of
    wait_until(cached, int(as_of) + lifetime_ms + 1_000)
    assert cached.through.get(path, params=query).headers["x-mdcache-as-of"] != as_of


def test_a_cache_does_cache(cached: Cached) -> None:
    query = cached.query()
    assert not from_cache(cached.through.get(KLINES, params=query))
    eventually(lambda: from_cache(cached.through.get(KLINES, params=query)))


def test_an_answer_newer_than_one_seen_elsewhere(cached: Cached) -> None:
    query = cached.query()
    for _ in range(3):
        cached.through.get(KLINES, params=query)
        elsewhere = cached.direct.get(KLINES, params=query, headers={"cache-control": "no-cache"})
        as_of_ms = int(elsewhere.headers["x-mdcache-as-of"])
        reply = cached.through.get(KLINES, params=query, headers={"x-mdcache-min-as-of": str(as_of_ms)})
        assert int(reply.headers["x-mdcache-as-of"]) >= as_of_ms


@pytest.mark.parametrize("first", [None, ORIGIN, "https://other.example"])
def test_a_page_of_a_listed_origin_may_always_read(cached: Cached, first: str | None) -> None:
    query = cached.query(startTime=1_690_000_000_000, endTime=1_690_001_000_000)
    for _ in range(4):
        cached.through.get(KLINES, params=query, headers={} if first is None else {"origin": first})
    reply = cached.through.get(KLINES, params=query, headers={"origin": ORIGIN})
    assert reply.headers["access-control-allow-origin"] == ORIGIN
