"""The daemon as a user starts it: real processes on loopback, in front of the simulated exchange."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.processes import daemon, sim

pytestmark = pytest.mark.processes

TOKEN = "a-very-secret-token"


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with sim() as url:
        yield url


def test_five_hundred_candles_by_a_change_of_base_url(upstream: str) -> None:
    with daemon(upstream) as (url, process), httpx.Client(base_url=url, trust_env=False, timeout=20.0) as client:
        first = client.get("/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=500")
        assert (first.status_code, len(first.json())) == (200, 500)
        assert first.headers["content-type"] == "application/json;charset=UTF-8"
        again = client.get("/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=499")
        assert again.headers["cache-status"].startswith("mdcache; hit")
        log = httpx.get(f"{upstream}/_sim/log?limit=1000", trust_env=False).json()
        assert sum(entry["path"] == "/api/v3/klines" for entry in log) == 1
        assert client.get("/api/v3/klines?symbol=NOPE&interval=1m").json()["code"] == -1121
        assert client.get("/readyz").json()["ready"] is True
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_secrets_reach_no_status_metric_or_log(upstream: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    env = {name: value for name, value in os.environ.items() if not name.startswith("MDCACHE_")}
    env |= {"MDCACHE_ADMIN_TOKEN": TOKEN, "MDCACHE_PORT": "0", "MDCACHE_LOG_LEVEL": "debug"}
    env |= {f"MDCACHE_{name}_URL": upstream.replace("http://", "http://user:hidden-word@") for name in ("SPOT", "USDM")}
    command = [sys.executable, "-m", "mdcache", "serve"]
    with (
        log.open("wb") as sink,
        subprocess.Popen(command, env=env, stderr=subprocess.PIPE, stdout=sink, cwd=tmp_path) as process,
    ):
        assert process.stderr is not None
        line = process.stderr.readline().decode()
        base = json.loads(line)["page"].rstrip("/")
        headers = {"authorization": f"Bearer {TOKEN}", "x-mbx-apikey": "my-api-key"}
        with httpx.Client(base_url=base, trust_env=False, timeout=20.0, headers=headers) as client:
            shown = client.get("/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=5").text
            shown += client.get("/api/v3/order?symbol=BTCUSDT&signature=my-signature").text
            shown += client.get("/v1/status").text + client.get("/metrics").text
            assert client.post("/v1/admin/purge", json={}).status_code == 200
        process.terminate()
        shown += line + process.stderr.read().decode()
        assert process.wait(10) == 0
    shown += log.read_text()
    for secret in (TOKEN, "hidden-word", "my-api-key", "my-signature"):
        assert secret not in shown


def test_a_second_start_is_told_of_the_port_first(upstream: str, tmp_path: Path) -> None:
    """It is the same folder, too; but who starts a daemon twice wants to know what runs, not where its files are."""
    with daemon(upstream, state_dir=str(tmp_path)) as (url, _):
        port = url.rsplit(":", 1)[1]
        env = {**os.environ, "MDCACHE_PORT": port, "MDCACHE_STATE_DIR": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-m", "mdcache", "serve"], env=env, capture_output=True, text=True, timeout=90, check=False
        )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f"cannot listen on 127.0.0.1:{port}" in line
    assert "MDCACHE_PORT" in line


def started(folder: Path, *arguments: str, lines: int, **settings: str) -> list[str]:
    """Start a command, and return the first lines of its log."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MDCACHE_")} | settings
    command = [sys.executable, "-m", "mdcache", *arguments]
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, cwd=folder, text=True) as process:
        assert process.stderr is not None
        found = [process.stderr.readline() for _ in range(lines)]
        process.terminate()
        process.wait(20)
    return found


def test_serve_says_where_it_is_and_what_it_is_set_to(upstream: str, tmp_path: Path) -> None:
    settings = {f"MDCACHE_{name}_URL": upstream for name in ("SPOT", "USDM", "COINM")}
    settings |= {"MDCACHE_PORT": "0", "MDCACHE_STATE_DIR": "state", "MDCACHE_WEIGHT_SHARE": "0.25"}
    (text,) = started(tmp_path, "serve", lines=1, **settings)
    line = json.loads(text)
    (address,) = line["addresses"]
    assert address.startswith("127.0.0.1:")
    assert not address.endswith(":0")
    assert line["event"] == "serving"
    assert line["page"] == f"http://{address}/"
    assert line["upstreams"] == {"spot": upstream, "usdm": upstream, "coinm": upstream}
    assert line["weight_share"] == 0.25
    assert line["state_dir"] == str(tmp_path / "state")


def test_options_win_over_the_environment_and_a_file_of_settings_replaces_dotenv(upstream: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MDCACHE_WEIGHT_SHARE=0.9\n")
    lines = [f"MDCACHE_{name}_URL={upstream}" for name in ("SPOT", "USDM", "COINM")]
    lines += ["MDCACHE_STATE_DIR=state", "MDCACHE_WEIGHT_SHARE=0.125", "MDCACHE_PORT=1"]
    (tmp_path / "mine.env").write_text("\n".join(lines))
    options = ("--host", "localhost", "--port", "0", "--env-file", "mine.env")
    (text,) = started(tmp_path, "serve", *options, lines=1, MDCACHE_PORT="2", MDCACHE_HOST="192.0.2.1")
    line = json.loads(text)
    assert (line["event"], line["weight_share"]) == ("serving", 0.125)
    assert line["upstreams"]["coinm"] == upstream
    assert all(address.startswith(("127.0.0.1:", "[::1]:")) for address in line["addresses"])


def test_a_file_of_settings_that_is_not_there_is_a_wrong_option(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mdcache", "serve", "--env-file", "nowhere.env"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert "nowhere.env" in done.stderr


def test_sim_says_where_it_is_and_how_to_use_it(tmp_path: Path) -> None:
    first, control, use = started(tmp_path, "sim", "--port", "0", "--seed", "7", "--limit", "1200", lines=3)
    url = next(word for word in first.split() if word.startswith("http://127.0.0.1:"))
    assert "seed 7" in first
    assert "1,200" in first
    assert f"{url}/_sim/" in control
    assert f"MDCACHE_USDM_URL={url}" in use
