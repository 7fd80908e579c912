"""What a daemon says of a Redis that comes and goes, where operators look."""

import httpx

from bench.processes import daemon, sim
from tests.world.servers import eventually, running

SETTLED = "/api/v3/klines?symbol=BTCUSDT&interval=1h&startTime=1700000000000&endTime=1701000000000"


def test_metrics_and_readiness_tell_whether_redis_works() -> None:
    with running() as server, sim() as upstream, daemon(upstream, redis_url=server.url) as (url, _):

        def told(works: int) -> bool:
            page = httpx.get(f"{url}/metrics", trust_env=False).text
            return f'mdcache_tier_up{{tier="redis"}} {works}.0' in page and 'mdcache_tier_up{tier="disk"} 1.0' in page

        def answered() -> int:
            return httpx.get(url + SETTLED, timeout=20.0, trust_env=False).status_code

        assert (told(1), answered()) == (True, 200)
        server.stop()
        eventually(lambda: told(0))
        assert answered() == 200
        ready = httpx.get(f"{url}/readyz", trust_env=False)
        (degraded,) = ready.json()["degraded"]
        assert (ready.status_code, degraded.partition(":")[0]) == (200, "redis")
        server.start()
        eventually(lambda: told(1))
