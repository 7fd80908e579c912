"""`mdcache warm --from-dumps` with real processes: then all of it is asked at no weight, byte for byte as Binance's."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from mdcache.exchange.markets import Market
from tests.cli.conftest import Run
from tests.cli.test_warm import TOKEN, settings
from tests.support.dump_folder import HEADER, MirrorOfDumps, csv_lines
from tests.support.examples import exhaustive
from tests.support.processes import daemon, sim

pytestmark = pytest.mark.processes

FIRST, DAYS = date(2025, 1, 30), 3
START = int(datetime(2025, 1, 30, tzinfo=UTC).timestamp()) * 1000
DAY = 86_400_000
SERIES = (
    (Market.SPOT, "/api/v3/klines", "BTCUSDT"),
    (Market.SPOT, "/api/v3/klines", "ETHUSDT"),
    (Market.USDM, "/fapi/v1/klines", "BTCUSDT"),
    (Market.COINM, "/dapi/v1/klines", "BTCUSD_PERP"),
)


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with sim() as url:
        yield url


def pages(path: str, symbol: str) -> list[str]:
    """The questions for all minutes."""
    step = DAY // 2
    spans = [(at, at + step - 1) for at in range(START, START + DAYS * DAY, step)]
    return [f"{path}?symbol={symbol}&interval=1m&startTime={a}&endTime={b}&limit=1000" for a, b in spans]


@pytest.fixture(scope="module")
def mirror(upstream: str, tmp_path_factory: pytest.TempPathFactory) -> MirrorOfDumps:
    """Daily files, of which the daemon takes those of its months where there is no monthly one."""
    made = MirrorOfDumps(tmp_path_factory.mktemp("dumps"))
    with httpx.Client(base_url=upstream, trust_env=False) as client:
        for market, path, symbol in SERIES:
            bodies = [client.get(each).content for each in pages(path, symbol)]
            for day in range(DAYS):
                lines = [
                    line
                    for body in bodies[2 * day : 2 * day + 2]
                    for line in csv_lines(body, micros=market is Market.SPOT)
                ]
                header = [] if market is Market.SPOT else [HEADER]
                made.put(market, symbol, "1m", FIRST + timedelta(days=day), [*header, *lines], daily=True)
    return made


def arguments(market: Market, symbols: str, mirror: MirrorOfDumps) -> list[str]:
    last = FIRST + timedelta(days=DAYS - 1)
    asked = ["--market", market.value, "--symbols", symbols, "--intervals", "1m", "--since", FIRST.isoformat()]
    return ["warm", *asked, "--until", f"{last.isoformat()}T23:59", "--from-dumps", str(mirror.root), "--json"]


def calls(upstream: str) -> int:
    return sum(
        "klines" in each["path"] for each in httpx.get(f"{upstream}/_sim/log?limit=10000", trust_env=False).json()
    )


@pytest.mark.parametrize("running", [True, *exhaustive(False)])
def test_all_of_it_is_then_answered_as_binance_does_at_no_weight(
    run: Run, upstream: str, mirror: MirrorOfDumps, tmp_path: Path, running: bool
) -> None:
    folder = tmp_path / "state"
    markets = [(market, ",".join(s for m, _, s in SERIES if m is market)) for market in Market]
    if not running:
        for market, symbols in markets:
            done = run(*arguments(market, symbols, mirror), **settings(upstream, folder))
            assert done.exit_code == 0, done.output
    with (
        daemon(upstream, state_dir=str(folder), admin_token=TOKEN) as (url, _),
        httpx.Client(base_url=url, trust_env=False, timeout=10) as client,
    ):
        if running:
            for market, symbols in markets:
                done = run(*arguments(market, symbols, mirror), **settings(upstream, folder, url))
                assert done.exit_code == 0, done.output
                assert json.loads(done.stdout)["weight"] == 0
        before = calls(upstream)
        answers = {each: client.get(each).content for _, path, symbol in SERIES for each in pages(path, symbol)}
        assert calls(upstream) == before
        asked = client.get("/metrics").text
    for each, answer in answers.items():
        assert answer == httpx.get(f"{upstream}{each}", trust_env=False).content
    if running:
        assert f'mdcache_dump_rows_total{{market="usdm",verdict="taken"}} {DAYS * 1440:.1f}' in asked


def test_killed_in_the_middle_it_goes_on_when_it_is_run_again(
    run: Run, upstream: str, mirror: MirrorOfDumps, tmp_path: Path
) -> None:
    environ = settings(upstream, tmp_path / "state")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MDCACHE_")}
    command = [sys.executable, "-m", "mdcache", *arguments(Market.SPOT, "BTCUSDT,ETHUSDT", mirror)]
    with subprocess.Popen(command, env=clean | environ, cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
        rows = tmp_path / "state" / "candles.db-wal"
        while process.poll() is None and not (rows.exists() and rows.stat().st_size > 100_000):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    again = run(*arguments(Market.SPOT, "BTCUSDT,ETHUSDT", mirror), **environ)
    assert again.exit_code == 0, again.output
    told = json.loads(again.stdout)
    assert told["rows"] < 2 * DAYS * 1440
    assert (told["differing"], told["left"]) == (0, 0)
    found = json.loads(run("inspect", "--json", "--verify", **environ).stdout)["totals"]
    assert (found["rows"], found["failed"]) == (2 * DAYS * 1440, 0)


def test_a_plan_tells_how_large_the_files_are(run: Run, mirror: MirrorOfDumps) -> None:
    asked = arguments(Market.SPOT, "BTCUSDT,ETHUSDT", mirror)[1:]
    found = json.loads(run("dumps", "--plan", *asked).stdout)
    sizes = [path.stat().st_size for path in mirror.root.rglob("spot/**/BTCUSDT-*.zip")]
    assert [(each["symbol"], each["files"]) for each in found] == [("BTCUSDT", DAYS), ("ETHUSDT", DAYS)]
    assert (found[0]["nbytes"], found[0]["rows"], found[0]["missing"]) == (sum(sizes), DAYS * 1440, 2)
    table = run("dumps", "--plan", *asked[:-1])
    assert f"{2 * DAYS} files" in table.stdout
    assert run("dumps", *asked).exit_code == 2
    nowhere = run("dumps", "--plan", *asked[:-2], "/nowhere")
    assert (nowhere.exit_code, "is no folder" in nowhere.stderr) == (1, True)
