"""`mdcache verify` in front of the simulated exchange: what it prints, writes, exits with, and never asks."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from mdcache.exchange.markets import Market
from mdcache.exchange.profile import Profile, read_profile
from mdcache.stores.disk.state_dir import open_state_dir
from tests.cli.conftest import Run
from tests.support.processes import free_port, sim

pytestmark = pytest.mark.processes

FEW = ("--only", "klines_cap,range_days")


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with sim() as url:
        yield url


@pytest.fixture
def exchange(upstream: str) -> Iterator[str]:
    """The exchange, which forgets afterwards what a test has done to it."""
    yield upstream
    httpx.post(f"{upstream}/_sim/reset", trust_env=False)


def settings(url: str, folder: Path) -> dict[str, str]:
    names = {f"MDCACHE_{market}_URL": url for market in ("SPOT", "USDM", "COINM")}
    streams = url.replace("http://", "ws://")
    names |= {f"MDCACHE_{market}_WS_URL": f"{streams}/{market.lower()}" for market in ("USDM", "COINM")}
    return names | {"MDCACHE_SPOT_WS_URL": streams, "MDCACHE_STATE_DIR": str(folder / "state")}


def written(url: str, folder: Path) -> Profile:
    reading = read_profile((folder / "state" / "exchange-profile.json").read_bytes(), dict.fromkeys(Market, url))
    assert reading.problems == ()
    assert reading.profile is not None
    return reading.profile


def questions(url: str) -> int:
    return len(httpx.get(f"{url}/_sim/log?limit=1000", trust_env=False).json())


def test_as_assumed_it_exits_with_0_and_writes_the_profile_and_another_run_adds_to_it(
    run: Run, exchange: str, folder: Path
) -> None:
    done = run("verify", *FEW, **settings(exchange, folder))
    assert done.exit_code == 0, done.output
    row = next(line for line in done.stdout.splitlines() if line.startswith("range_days_cap") and "coinm" in line)
    assert row.split() == ["range_days_cap", "coinm", "200", "200", "as", "assumed"]
    assert "8 as assumed, 0 differs, 0 not measured" in done.stdout.replace("\n", " ")
    facts = written(exchange, folder).facts
    assert (facts["usdm.klines_cap"], facts["coinm.range_days_cap"]) == (1_500, 200)
    before = written(exchange, folder)
    assert run("verify", "--only", "future", "--market", "usdm", **settings(exchange, folder)).exit_code == 0
    after = written(exchange, folder)
    assert after.facts.items() > before.facts.items()
    assert after.facts["usdm.future_end"] == "accepted"
    assert after.measured_at_ms == before.measured_at_ms  # some of it is as old as that


def test_beside_another_one_it_asks_nothing(run: Run, exchange: str, folder: Path) -> None:
    env = settings(exchange, folder)
    other = open_state_dir(Path(env["MDCACHE_STATE_DIR"]), "verify.lock")
    before = questions(exchange)
    done = run("verify", *FEW, **env)
    assert done.exit_code == 1
    assert "another `mdcache verify` measures" in done.stderr
    assert questions(exchange) == before
    other.release()
    assert run("verify", *FEW, **env).exit_code == 0


def test_what_differs_is_shown_with_what_follows_and_exits_with_1(run: Run, exchange: str, folder: Path) -> None:
    httpx.post(f"{exchange}/_sim/skew_date", json={"seconds": 5}, trust_env=False).raise_for_status()
    done = run("verify", "--only", "date_ahead,http2", "--json", **settings(exchange, folder))
    assert done.exit_code == 1
    found = {each["key"]: each for each in json.loads(done.stdout)["facts"]}
    assert found["spot.date_ahead_ms"]["verdict"] == "differs"
    assert 3_000 < found["spot.date_ahead_ms"]["seen"] < 6_000
    assert "clock" in found["spot.date_ahead_ms"]["follows"]
    table = run("verify", "--only", "date_ahead", **settings(exchange, folder)).stdout
    assert found["spot.date_ahead_ms"]["follows"].split()[0] in table


def test_what_could_not_be_measured_exits_with_3(run: Run, exchange: str, folder: Path) -> None:
    done = run("verify", "--only", "http2", **settings(exchange, folder))
    assert done.exit_code == 3
    assert "without TLS" in done.stdout
    assert "no profile was written" in done.stdout
    assert not (folder / "state" / "exchange-profile.json").exists()


def test_a_profile_that_can_not_be_written_hides_nothing_of_what_was_measured(
    run: Run, exchange: str, folder: Path
) -> None:
    (folder / "state" / "exchange-profile.json").mkdir(parents=True)
    done = run("verify", *FEW, **settings(exchange, folder))
    assert done.exit_code == 1
    assert "8 as assumed" in done.stdout
    assert "the profile could not be written" in done.stderr
    assert "Is a directory" in done.stderr


def test_a_ban_ends_the_run_and_the_next_one_sends_nothing(run: Run, exchange: str, folder: Path) -> None:
    for family in ("spot", "futures"):
        httpx.post(f"{exchange}/_sim/ban", json={"family": family, "seconds": 600}, trust_env=False).raise_for_status()
    before = questions(exchange)
    done = run("verify", *FEW, **settings(exchange, folder))
    assert done.exit_code == 3
    assert "spot was asked no more: banned by Binance (418), for another 60" in done.stderr
    assert questions(exchange) == before + 2
    again = run("verify", *FEW, **settings(exchange, folder))
    assert again.exit_code == 3
    assert "banned by Binance (418)" in again.stderr
    assert questions(exchange) == before + 2


def test_without_a_network_it_says_so(run: Run, folder: Path) -> None:
    done = run("verify", "--quick", **settings(f"http://127.0.0.1:{free_port()}", folder))
    assert done.exit_code == 3
    assert "no profile was written" in done.stdout
    assert "connect" in done.stdout


def test_a_text_that_no_fact_has_is_an_error_of_the_command_line(run: Run, folder: Path) -> None:
    done = run("verify", "--only", "nonsense", **settings("http://127.0.0.1:1", folder))
    assert done.exit_code == 2
    assert "docs/verify.md" in done.stderr


@pytest.mark.exhaustive
def test_a_quick_run_of_everything_by_real_connections(exchange: str, folder: Path) -> None:
    command = (sys.executable, "-m", "mdcache", "verify", "--quick", "--json")
    clean = {name: value for name, value in os.environ.items() if not name.upper().startswith("MDCACHE_")}
    environ = clean | settings(exchange, folder)
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 3, done.stderr
    told = json.loads(done.stdout)
    assert [each["key"] for each in told["facts"] if each["verdict"] == "differs"] == []
    assert told["weight"] < 200
    facts = written(exchange, folder).facts
    assert facts["usdm.stream_route"] == "market"
    assert facts["usdm.frame_cadence_ms"] == pytest.approx(250, abs=60)
    assert len(facts) > 100
