"""`mdcache inspect`: its output, also beside a running daemon, and that it changes nothing."""

import json
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from mdcache.cli.state_folders import MAKE_RUN
from mdcache.sim import SimConfig
from mdcache.stores.disk.schema import APPLICATION
from tests.cli.conftest import Run
from tests.support.processes import daemon, free_port, sim
from tests.support.virtual_daemon import VirtualDaemon
from tests.support.virtual_time import run as run_world

pytestmark = pytest.mark.processes

MINUTE, HOUR = 60_000, 3_600_000


def fill(folder: Path, *, orderly: bool = True) -> None:
    """3,000 minutes and 1,000 hours of BTCUSDT, of which all but the newest are long settled."""

    async def main() -> None:
        w = VirtualDaemon(SimConfig(spot_limit=1_000_000), folder=folder)
        now = w.clock.true_ms()
        for interval, length, rows in (
            ("1m", MINUTE, 1000),
            ("1m", MINUTE, 1000),
            ("1m", MINUTE, 1000),
            ("1h", HOUR, 1000),
        ):
            start = now - 90 * 24 * HOUR
            await w.ask("/api/v3/klines", f"symbol=BTCUSDT&interval={interval}&startTime={start}&limit={rows}")
            now += rows * length
        await w.clock.sleep(2.0)
        w.runs = orderly  # else it is not closed

    run_world(main())


def traces(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


def test_a_table_sorted_by_bytes_with_totals(run: Run, state: Path) -> None:
    fill(state)
    before = traces(state)
    result = run("inspect", MDCACHE_STATE_DIR=str(state))
    assert result.exit_code == 0, result.output
    heading, first, second, total, *rest = result.stdout.splitlines()
    assert heading.split() == ["series", "upstream", "rows", "bytes", "holes", "voids", "failed"]
    assert first.split()[:3] == ["spot/klines/BTCUSDT/1m", "http://exchange.test", "3,000"]
    assert second.split()[:3] == ["spot/klines/BTCUSDT/1h", "http://exchange.test", "1,000"]
    assert total.split()[:2] == ["2", "4,000"]
    assert "--verify checks them" in rest[0]
    assert traces(state) == before


def test_a_folder_on_the_command_line_wins(run: Run, state: Path) -> None:
    fill(state)
    result = run("inspect", str(state), MDCACHE_STATE_DIR=str(state.with_name("empty")))
    assert result.exit_code == 0, result.output
    assert str(state / "candles.db") in result.stdout


def test_it_finds_the_folder_of_make_run(run: Run, folder: Path) -> None:
    made = folder / MAKE_RUN
    assert f"--state-dir {MAKE_RUN}" in (Path(__file__).parents[2] / "Makefile").read_text()
    empty = run("inspect", XDG_STATE_HOME=str(folder), MDCACHE_PORT=str(free_port()))
    assert empty.exit_code == 1
    assert empty.stderr == f"mdcache: nothing is stored in {folder}/mdcache, nor in {made}\n"
    made.mkdir(parents=True)
    fill(made)
    found = run("inspect", XDG_STATE_HOME=str(folder), MDCACHE_PORT=str(free_port()))
    assert found.exit_code == 0, found.output
    assert str(made / "candles.db") in found.stdout
    usual = folder / "mdcache"
    usual.mkdir()
    fill(usual)
    both = run("inspect", XDG_STATE_HOME=str(folder), MDCACHE_PORT=str(free_port()))
    assert str(usual / "candles.db") in both.stdout
    assert f"mdcache inspect {made}" in both.stderr


def test_it_finds_the_folder_of_the_running_daemon(run: Run, state: Path, folder: Path) -> None:
    fill(state)
    with sim() as upstream, daemon(upstream, state_dir=str(state)) as (url, _):
        result = run("inspect", XDG_STATE_HOME=str(folder), MDCACHE_PORT=url.rsplit(":", 1)[1])
    assert result.exit_code == 0, result.output
    assert str(state / "candles.db") in result.stdout


def test_json_for_machines(run: Run, state: Path) -> None:
    fill(state)
    result = run("inspect", "--json", "--verify", MDCACHE_STATE_DIR=str(state))
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["verified"] is True
    assert told["totals"]["rows"] == 4_000
    assert told["totals"]["failed"] == told["totals"]["holes"] == 0
    assert told["totals"]["nbytes"] == sum(each["nbytes"] for each in told["series"]) > 0
    assert told["file_bytes"] == (state / "candles.db").stat().st_size


def test_a_log_that_was_left_is_read_and_left(run: Run, state: Path) -> None:
    fill(state, orderly=False)
    assert (state / "candles.db-wal").exists()
    copy = state.with_name("copy")
    copy.mkdir()
    for name in ("candles.db", "candles.db-wal", "candles.db-shm"):
        (copy / name).write_bytes((state / name).read_bytes())
    before = traces(copy)
    result = run("inspect", "--json", "--verify", MDCACHE_STATE_DIR=str(copy))
    assert (result.exit_code, json.loads(result.stdout)["totals"]["rows"]) == (0, 4_000)
    assert {name: content for name, (_, content) in traces(copy).items()} == {
        name: content for name, (_, content) in before.items()
    }


@pytest.mark.parametrize(
    ("sql", "plainly"),
    [
        ("UPDATE base SET payload = CAST(substr(payload, 1, 40) || x'00ff' || substr(payload, 43) AS BLOB)", False),
        ("DELETE FROM base", False),
        ("UPDATE block SET record = CAST(record || ' ' AS BLOB)", True),
        ("UPDATE series SET state = CAST(state || ' ' AS BLOB)", True),
    ],
)
def test_what_is_broken_is_found(run: Run, state: Path, sql: str, plainly: bool) -> None:
    fill(state)
    with closing(sqlite3.connect(state / "candles.db")) as db, db:
        db.execute(sql)
    assert run("inspect", MDCACHE_STATE_DIR=str(state)).exit_code == (1 if plainly else 0)
    result = run("inspect", "--verify", MDCACHE_STATE_DIR=str(state))
    assert result.exit_code == 1
    assert "failed: spot/klines/BTCUSDT/1m: " in result.stdout


def test_holes_are_buckets_without_a_row(run: Run, state: Path) -> None:
    fill(state)
    told = json.loads(run("inspect", "--json", MDCACHE_STATE_DIR=str(state)).stdout)
    assert [each["voids"] for each in told["series"]] == [0, 0]
    with closing(sqlite3.connect(state / "candles.db")) as db:
        assert db.execute("SELECT count(*) FROM block").fetchone()[0] == told["totals"]["blocks"]


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript(f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = 99; CREATE TABLE t (x);")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda _: None, "nothing is stored in"),
        (newer, "has version 99"),
        (lambda path: path.write_bytes(b"nothing of the kind" * 100), "can't be read"),
    ],
)
def test_one_clear_line_where_there_is_nothing_to_see(
    run: Run, state: Path, make: Callable[[Path], object], said: str
) -> None:
    make(state / "candles.db")
    before = traces(state)
    result = run("inspect", MDCACHE_STATE_DIR=str(state))
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert said in line
    assert traces(state) == before


def test_beside_a_running_daemon(run: Run, state: Path) -> None:
    with (
        sim() as upstream,
        daemon(upstream, state_dir=str(state)) as (url, process),
        httpx.Client(base_url=url, trust_env=False, timeout=20.0) as client,
    ):
        start = 1_700_000_000_000
        rows = 0
        for page in range(4):
            query = f"symbol=BTCUSDT&interval=1m&startTime={start + page * 1000 * MINUTE}&limit=1000"
            rows += len(client.get(f"/api/v3/klines?{query}").json())
            for _ in range(100):
                result = run("inspect", "--json", "--verify", MDCACHE_STATE_DIR=str(state))
                assert result.exit_code == 0 or "candles.db" in result.stderr, result.output
                if result.exit_code == 0 and json.loads(result.stdout)["totals"]["rows"] == rows:
                    break
                client.get("/healthz")
            else:
                raise AssertionError(f"never saw {rows} rows")
        assert client.get("/v1/status").json()["stores"]["disk"]["state"] == "ok"
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        result = run("inspect", "--json", "--verify", MDCACHE_STATE_DIR=str(state))
        assert json.loads(result.stdout)["totals"]["rows"] == rows
