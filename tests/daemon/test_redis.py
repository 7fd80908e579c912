"""What a daemon keeps in Redis and needs of it, and what docs/replicas.md says to set up."""

import re
import time
from pathlib import Path

import httpx
import pytest

from mdcache.stores.redis.url import Topology, parse_url
from tests.support.processes import daemon, sim
from tests.support.redis_servers import running_redis
from tests.support.waiting import eventually

pytestmark = [pytest.mark.processes, pytest.mark.untraced]

PAGE = (Path(__file__).parents[2] / "docs" / "replicas.md").read_text()

SETTLED = "/api/v3/klines?symbol=BTCUSDT&interval=1h&startTime=1700000000000&endTime=1701000000000"


def test_a_killed_daemon_is_the_same_replica_once_it_is_started_again_in_its_folder(tmp_path: Path) -> None:
    with running_redis() as server, sim() as upstream:

        def replicas() -> list[bytes]:
            return [name for name in server.client().hkeys("mdcache:v2:budget:{bench:spot}") if name.startswith(b"r:")]

        with daemon(upstream, redis_url=server.url, state_dir=str(tmp_path)) as (_, process):
            eventually((tmp_path / "replica").exists)
            process.kill()
        before = replicas()
        assert len(before) == 1
        server.client().delete("mdcache:v2:budget:{bench:spot}")
        with daemon(upstream, redis_url=server.url, state_dir=str(tmp_path)):
            eventually(lambda: replicas() == before)


def test_the_user_that_the_docs_describe_may_do_all_that_a_daemon_does() -> None:
    (rule,) = re.findall(r"^ACL SETUSER .*$", PAGE, re.MULTILINE)
    with running_redis() as server, sim() as upstream:
        client = server.client()
        client.execute_command(*rule.split())
        url = f"redis://mdcache:password@127.0.0.1:{server.port}"
        with daemon(upstream, redis_url=url, admin_token="sesame") as (at, _):
            assert httpx.get(at + SETTLED, timeout=20.0, trust_env=False).status_code == 200
            eventually(lambda: any(key.endswith(b"h") for key in client.keys("mdcache:*")))
            bearer = {"authorization": "Bearer sesame"}
            purge = httpx.post(f"{at}/v1/admin/purge", json={}, headers=bearer, timeout=20.0, trust_env=False)
            assert purge.status_code == 200
            redis = httpx.get(f"{at}/v1/status", trust_env=False).json()["stores"]["redis"]
            assert (redis["state"], redis["failures"]) == ("ok", 0)
            assert set(redis["families"]["spot"]) == {"mode", "replicas", "part", "total", "ready"}  # as the page says
        assert client.execute_command("ACL", "LOG") == []


def test_the_addresses_in_the_docs_can_be_read() -> None:
    found = re.findall(r"`(redis[s+]?\S*://\S+)`", PAGE)
    assert {parse_url(url).topology for url in found} == set(Topology)


def test_one_beyond_the_number_of_replicas_is_ready_only_once_it_may_spend() -> None:
    """On an empty Redis: the first has taken all of the minute."""
    with running_redis() as server, sim() as upstream:
        settings = {"redis_url": server.url, "replicas": "1"}

        def ready(url: str) -> bool:
            return httpx.get(f"{url}/readyz", trust_env=False).status_code == 200

        time.sleep(max(0.0, 10.0 - (60.0 - time.time() % 60.0)))  # not in the last seconds of a minute
        with daemon(upstream, **settings) as (first, _):
            eventually(lambda: ready(first))
            assert httpx.get(first + SETTLED, timeout=20.0, trust_env=False).status_code == 200
            with daemon(upstream, **settings) as (second, _):
                assert "no weight to spend yet" in httpx.get(f"{second}/readyz", trust_env=False).text
                time.sleep(60.0 - time.time() % 60.0)
                eventually(lambda: ready(second))
                for path in ("/api/v3", "/fapi/v1"):
                    newer = SETTLED.replace("1h", "30m").replace("/api/v3", path)
                    assert httpx.get(second + newer, timeout=20.0, trust_env=False).status_code == 200
