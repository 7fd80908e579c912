"""`mdcache warm` with and without a running daemon: real processes in front of the simulated exchange."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.cli.conftest import Run
from tests.support.processes import daemon, free_port, sim

pytestmark = pytest.mark.processes

TOKEN = "let-me-in-please"
SPAN = ("--market", "spot", "--symbols", "btcusdt", "--intervals", "1m,1h", "--since", "2024-01-01")
DAYS = (*SPAN, "--until", "2024-01-03T23:59")
ROWS = 3 * (24 * 60 + 24)


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with sim() as url:
        yield url


def settings(upstream: str, folder: Path, url: str | None = None, **more: str) -> dict[str, str]:
    port = str(free_port()) if url is None else url.rsplit(":", 1)[1]
    names = {f"MDCACHE_{market}_URL": upstream for market in ("SPOT", "USDM", "COINM")}
    own = {"MDCACHE_STATE_DIR": str(folder), "MDCACHE_PORT": port, "MDCACHE_EGRESS": "bench"}
    return names | own | {"MDCACHE_ADMIN_TOKEN": TOKEN} | more


def kline_calls(upstream: str) -> int:
    log = httpx.get(f"{upstream}/_sim/log?limit=1000", trust_env=False).json()
    return sum(entry["path"] == "/api/v3/klines" for entry in log)


def test_by_itself_and_again_at_no_cost(run: Run, upstream: str, tmp_path: Path) -> None:
    environ = settings(upstream, tmp_path / "state")
    first = run("warm", *DAYS, "--json", **environ)
    assert first.exit_code == 0, first.output
    told = json.loads(first.stdout)
    assert (told["state"], told["rows"], told["series_done"], told["errors"]) == ("done", ROWS, 2, {})
    assert told["weight"] > 0
    before = kline_calls(upstream)
    again = json.loads(run("warm", *DAYS, "--json", **environ).stdout)
    assert (again["rows"], again["weight"]) == (ROWS, 0)
    assert kline_calls(upstream) == before
    found = json.loads(run("inspect", "--json", "--verify", **environ).stdout)
    assert found["totals"]["rows"] >= ROWS
    assert found["totals"]["failed"] == 0


def test_through_a_running_daemon(run: Run, upstream: str, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    with daemon(upstream, state_dir=str(folder), admin_token=TOKEN) as (url, _):
        done = run("warm", *DAYS, **settings(upstream, folder, url))
        assert done.exit_code == 0, done.output
        assert done.stdout.startswith(f"done: 2 of 2 series, {ROWS:,} rows, weight ")
        environ = settings(upstream, folder, url)
        told = json.loads(run("audit", "--rows", "300", "--json", **environ).stdout)
        assert (told["state"], told["verdicts"]["same"], told["differences"]) == ("done", told["rows"], [])
        row = {
            "path": "/api/v3/klines",
            "name": "BTCUSDT",
            "interval": "1h",
            "open_ms": 1_704_070_800_000,
            "volume": "1",
        }
        httpx.post(f"{upstream}/_sim/revise", json=row, trust_env=False).raise_for_status()
        found = run("audit", "--symbol", "btcusdt", "--interval", "1h", **environ)
        assert found.exit_code == 1
        assert "done: 1,000 rows read again (999 same, 1 different), weight " in found.stdout
        assert "spot/klines/BTCUSDT/1h 1704070800000: different\n  was [1704070800000," in found.stdout
        nothing = run("audit", "--symbol", "none", **environ)
        assert (nothing.exit_code, nothing.stdout[:40]) == (1, "stopped: 0 rows read again, weight 0, 0.")
        bad = run("warm", *DAYS, **settings(upstream, folder, url, MDCACHE_ADMIN_TOKEN="wrong"))
        assert (bad.exit_code, bad.stdout) == (1, "")
        assert "answered 401: The admin token is missing or wrong." in bad.stderr
        elsewhere = run("warm", *DAYS, **settings(upstream, folder))
        assert elsewhere.exit_code == 1
        assert "another daemon is using" in elsewhere.stderr
    assert json.loads(run("inspect", "--json", **settings(upstream, folder)).stdout)["totals"]["rows"] >= ROWS


def test_a_refusal_is_printed_and_exits_with_1(run: Run, upstream: str, tmp_path: Path) -> None:
    asked = ["NOPE,BTCUSDT" if each == "btcusdt" else each for each in DAYS]
    result = run("warm", *asked, **settings(upstream, tmp_path / "state"))
    assert result.exit_code == 1
    assert f"done: 4 of 4 series, {ROWS:,} rows" in result.stdout
    assert "spot/NOPE/1m: -1121 Invalid symbol." in result.stderr


@pytest.mark.parametrize("through", [False, True])
def test_ctrl_c_is_130_and_asking_again_goes_on(run: Run, upstream: str, tmp_path: Path, through: bool) -> None:
    folder = tmp_path / "state"
    with daemon(upstream, state_dir=str(tmp_path / ("state" if through else "other")), admin_token=TOKEN) as (url, _):
        environ = settings(upstream, folder, url if through else None)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MDCACHE_")}
        # a shell's background jobs, and their children, are born with SIGINT ignored
        listening = ["env", "--default-signal=INT"]
        command = [*listening, sys.executable, "-m", "mdcache", "warm", *SPAN, "--json"]
        before = kline_calls(upstream)
        with subprocess.Popen(
            command, env=clean | environ, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            while kline_calls(upstream) < before + 3:
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            said, errors = process.communicate(timeout=30)
        assert process.returncode == 130, errors
        assert "Traceback" not in errors
        assert "continues where it stopped" in errors
        told = json.loads(said)
        assert told["state"] == "cancelled"
        before = kline_calls(upstream)
        again = json.loads(run("warm", *DAYS, "--json", **environ).stdout)
        assert again["rows"] == ROWS
        assert again["weight"] <= 8  # hours, and what minutes were not there yet


@pytest.mark.parametrize(
    "changes",
    [
        {"--market": "moon"},
        {"--since": "yesterday"},
        {"--until": "1735689600000000"},  # microseconds
        {"--until": "2023-01-01"},
        {"--symbols": ","},
        {"--intervals": ""},
    ],
)
def test_wrong_options_are_2(run: Run, changes: dict[str, str]) -> None:
    given = dict(zip(DAYS[::2], DAYS[1::2], strict=True)) | changes
    assert run("warm", *(part for pair in given.items() for part in pair)).exit_code == 2


def test_without_a_daemon_there_is_no_audit(run: Run) -> None:
    result = run("audit", MDCACHE_PORT=str(free_port()))
    assert result.exit_code == 1
    assert "no daemon listens on" in result.stderr
    assert run("audit", "--rows", "0").exit_code == 2
    assert run("audit", "--rows", "1000000000").exit_code == 2


def test_where_nothing_may_rest_it_says_so(run: Run, folder: Path) -> None:
    result = run(
        "warm", *DAYS, MDCACHE_PERSIST="false", MDCACHE_PORT=str(free_port()), MDCACHE_STATE_DIR=str(folder / "state")
    )
    assert result.exit_code == 1
    assert "nothing would be kept" in result.stderr
