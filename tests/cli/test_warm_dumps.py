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
from tests.support.dump_folder import MirrorOfDumps, csv_lines
from tests.support.processes import daemon, sim

pytestmark = pytest.mark.processes

DAYS = 3
FIRST = date(2025, 1, 30)
DAY = timedelta(days=1)
SYMBOLS = {Market.SPOT: "BTCUSDT,币安人生USDT", Market.USDM: "BTCUSDT,ETHUSDT", Market.COINM: "BTCUSD_PERP"}


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with sim() as url:
        yield url


def pages(market: Market, symbol: str, first: date) -> list[str]:
    """The questions for all minutes, half a day each."""
    start = int(datetime(first.year, first.month, first.day, tzinfo=UTC).timestamp()) * 1000
    spans = [(start + n * 43_200_000, start + (n + 1) * 43_200_000 - 1) for n in range(2 * DAYS)]
    path = f"{market.prefix}klines?symbol={symbol}&interval=1m"
    return [f"{path}&startTime={lo}&endTime={hi}&limit=1000" for lo, hi in spans]


@pytest.fixture(scope="module")
def mirror(upstream: str, tmp_path_factory: pytest.TempPathFactory) -> MirrorOfDumps:
    """Daily files of two symbols: there are none of whole months."""
    made = MirrorOfDumps(tmp_path_factory.mktemp("dumps"))
    with httpx.Client(base_url=upstream, trust_env=False) as client:
        for symbol in ("BTCUSDT", "ETHUSDT"):
            bodies = [client.get(each).content for each in pages(Market.SPOT, symbol, FIRST)]
            for day in range(DAYS):
                lines = [line for body in bodies[2 * day : 2 * day + 2] for line in csv_lines(body, micros=True)]
                made.put(Market.SPOT, symbol, "1m", FIRST + day * DAY, lines, daily=True)
    return made


def arguments(market: Market, symbols: str, first: date, where: str) -> list[str]:
    last = first + (DAYS - 1) * DAY
    asked = ["--market", market.value, "--symbols", symbols, "--intervals", "1m", "--since", first.isoformat()]
    return [*asked, "--until", f"{last.isoformat()}T23:59", "--from-dumps", where, "--json"]


def calls(upstream: str) -> int:
    log = httpx.get(f"{upstream}/_sim/log?limit=10000", trust_env=False).json()
    return sum("/v" in each["path"] and "klines" in each["path"] for each in log)


def test_all_of_it_is_then_answered_as_binance_does_at_no_weight(run: Run, upstream: str, tmp_path: Path) -> None:
    """Days before yesterday, of a daemon that runs meanwhile; and a host that refuses closes no gate."""
    folder, where = tmp_path / "state", f"{upstream}/dumps"
    first = datetime.now(UTC).date() - (DAYS + 2) * DAY
    with (
        daemon(upstream, state_dir=str(folder), admin_token=TOKEN) as (url, _),
        httpx.Client(base_url=url, trust_env=False, timeout=10) as client,
        httpx.Client(base_url=upstream, trust_env=False, timeout=10) as exchange,
    ):
        for market, symbols in SYMBOLS.items():
            done = run("warm", *arguments(market, symbols, first, where), **settings(upstream, folder, url))
            assert done.exit_code == 0, done.output
            told = json.loads(done.stdout)
            assert (told["weight"], told["differing"], told["left"], told["pages_left"]) == (0, 0, 0, 0)
        before = calls(upstream)
        questions = [
            each
            for market, names in SYMBOLS.items()
            for name in names.split(",")
            for each in pages(market, name, first)
        ]
        answers = [client.get(each).content for each in questions]
        assert calls(upstream) == before
        assert answers == [exchange.get(each).content for each in questions]
        exchange.post("/_sim/dump_fault", json={"kind": "403"}).raise_for_status()
        other = arguments(Market.SPOT, "ETHUSDT", first, where)
        refused = run("warm", *other, **settings(upstream, folder, url))
        assert (refused.exit_code, json.loads(refused.stdout)["state"]) == (1, "failed")
        assert "403" in json.loads(refused.stdout)["detail"]
        asked = pages(Market.SPOT, "ETHUSDT", first)[0]
        assert client.get(asked).content == exchange.get(asked).content


def test_killed_in_the_middle_it_goes_on_when_it_is_run_again(
    run: Run, upstream: str, mirror: MirrorOfDumps, tmp_path: Path
) -> None:
    environ = settings(upstream, tmp_path / "state")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MDCACHE_")}
    asked = arguments(Market.SPOT, "BTCUSDT,ETHUSDT", FIRST, str(mirror.root))
    command = [sys.executable, "-m", "mdcache", "warm", *asked]
    with subprocess.Popen(command, env=clean | environ, cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
        rows = tmp_path / "state" / "candles.db-wal"
        while process.poll() is None and not (rows.exists() and rows.stat().st_size > 100_000):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    again = run("warm", *asked, **environ)
    assert again.exit_code == 0, again.output
    told = json.loads(again.stdout)
    assert told["rows"] < 2 * DAYS * 1440
    assert (told["differing"], told["left"]) == (0, 0)
    found = json.loads(run("inspect", "--json", "--verify", **environ).stdout)["totals"]
    assert (found["rows"], found["failed"]) == (2 * DAYS * 1440, 0)


def test_a_plan_tells_how_large_the_files_are(run: Run, upstream: str, mirror: MirrorOfDumps) -> None:
    asked = arguments(Market.SPOT, "BTCUSDT,ETHUSDT", FIRST, str(mirror.root))
    found = json.loads(run("dumps", "--plan", *asked).stdout)
    sizes = [path.stat().st_size for path in mirror.root.rglob("BTCUSDT-*.zip")]
    assert [(each["symbol"], each["files"]) for each in found] == [("BTCUSDT", DAYS), ("ETHUSDT", DAYS)]
    assert (found[0]["nbytes"], found[0]["rows"], found[0]["missing"]) == (sum(sizes), DAYS * 1440, 2)
    assert f"{2 * DAYS} files" in run("dumps", "--plan", *asked[:-1]).stdout
    assert run("dumps", *asked).exit_code == 2
    nowhere = run("dumps", "--plan", *asked[:-2], "/nowhere")
    assert (nowhere.exit_code, "is no folder" in nowhere.stderr) == (1, True)
