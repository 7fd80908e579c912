"""The daemon's folder, with real processes: one daemon in it, none needed, and what is in it outlives a kill -9."""

import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.processes import daemon, sim
from tests.support.waiting import eventually

pytestmark = [pytest.mark.processes, pytest.mark.untraced]

NOW = int(time.time() * 1000)
SETTLED = f"/api/v3/klines?symbol=BTCUSDT&interval=1h&startTime={NOW - 40 * 86_400_000}&limit=500"

SAVED = re.compile(r'mdcache_tier_seconds_count{op="write",tier="disk"} [1-9]')


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with sim() as url:
        yield url


def get(url: str, **headers: str) -> httpx.Response:
    return httpx.get(url, headers={n.replace("_", "-"): v for n, v in headers.items()}, trust_env=False, timeout=20.0)


def test_a_second_daemon_refuses_to_start(upstream: str, tmp_path: Path) -> None:
    with daemon(upstream, state_dir=str(tmp_path)) as (url, _):
        env = {**os.environ, "MDCACHE_PORT": "0", "MDCACHE_STATE_DIR": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-m", "mdcache", "serve"], env=env, capture_output=True, text=True, timeout=90, check=False
        )
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert str(tmp_path) in done.stderr
        assert "another daemon" in done.stderr
        assert get(f"{url}/healthz").status_code == 200
    with daemon(upstream, state_dir=str(tmp_path)) as (url, _):  # and the lock went with the first
        assert get(f"{url}/readyz").json() == {"ready": True, "reasons": [], "degraded": []}


@pytest.mark.parametrize("orderly", [True, False])
def test_settled_rows_outlive_the_process(upstream: str, tmp_path: Path, orderly: bool) -> None:
    with daemon(upstream, state_dir=str(tmp_path)) as (url, process):
        first = get(url + SETTLED)
        assert first.status_code == 200
        if orderly:
            process.terminate()
        else:
            eventually(lambda: SAVED.search(get(f"{url}/metrics").text) is not None, 10.0)
            process.kill()
        process.wait(10)
    with daemon(upstream, state_dir=str(tmp_path)) as (url, _):
        again = get(url + SETTLED, cache_control="only-if-cached")
        assert (again.status_code, again.content) == (200, first.content)
        assert get(f"{url}/v1/status").json()["stores"]["disk"]["state"] == "ok"
        metrics = get(f"{url}/metrics").text
        assert 'mdcache_tier_seconds_count{op="load",tier="disk"} 1.0' in metrics
        assert 'mdcache_tier_up{tier="disk"} 1.0' in metrics


def test_a_folder_that_can_not_be_written_is_reported_and_not_used(upstream: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with daemon(upstream, state_dir=str(tmp_path / "file" / "state")) as (url, _):
        assert get(url + SETTLED).status_code == 200
        assert get(url + SETTLED, cache_control="only-if-cached").status_code == 200
        ready = get(f"{url}/readyz")
        assert ready.status_code == 200
        (degraded,) = ready.json()["degraded"]
        assert degraded.startswith("disk: ")
        assert get(f"{url}/v1/status").json()["stores"]["disk"]["state"] == "down"
        assert 'mdcache_tier_up{tier="disk"} 0.0' in get(f"{url}/metrics").text


def test_a_newer_file_is_reported_and_left_alone(upstream: str, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "candles.db") as newer:
        newer.execute("PRAGMA user_version = 99")
    newer.close()
    before = (tmp_path / "candles.db").read_bytes()
    with daemon(upstream, state_dir=str(tmp_path)) as (url, _):
        assert get(url + SETTLED).status_code == 200
        (degraded,) = get(f"{url}/readyz").json()["degraded"]
        assert "version 99" in degraded
    assert (tmp_path / "candles.db").read_bytes() == before


def test_without_persist_no_rows_rest_and_gates_do(upstream: str, tmp_path: Path) -> None:
    with daemon(upstream, state_dir=str(tmp_path), persist="false") as (url, process):
        assert get(url + SETTLED).status_code == 200
        process.terminate()
        process.wait(10)
    assert {path.name for path in tmp_path.iterdir()} == {"lock", "gates.json", "exchangeInfo-spot"}
