"""What is in `examples/`, run; the analysis loop acts once on each closed candle, and on no old data, come what may.

Real processes; candles of one second, so that a few seconds are as good as minutes. `make test-examples` compiles and
runs those in Go and Rust.
"""

import contextlib
import csv
import importlib.util
import json
import re
import runpy
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import httpx
import pytest

from mdcache.client import Candle, Client
from tests.support.processes import daemon, sim

pytestmark = [pytest.mark.processes, pytest.mark.untraced]
ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SERIES = "market=spot&symbols=BTCUSDT,ETHUSDT&intervals=1h"


class _Enough(Exception):
    """Ends the loop, as a signal would."""


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[str, str]]:
    with sim() as exchange, daemon(exchange, request_deadline_s="3") as (url, _):
        yield exchange, url


def test_the_notebook_runs(
    served: tuple[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["notebook.py", served[1]])
    cells = runpy.run_path(str(EXAMPLES / "notebook.py"))
    assert cells["frame"].height == 400
    assert str(cells["exact"].schema["close"]) == "Decimal(precision=38, scale=18)"
    printed = capsys.readouterr().out
    assert "correlation" in printed
    assert "null" not in printed


def test_duckdb_answers_the_query_from_a_table(served: tuple[str, str], tmp_path: Path) -> None:
    url = f"{served[1]}/v1/candles.csv?{SERIES}&limit=48&closed=true"
    table = httpx.get(url, trust_env=False).raise_for_status()
    code = "import duckdb, json, sys; print(json.dumps(duckdb.sql(open(sys.argv[1]).read()).fetchall(), default=str))"
    command = [sys.executable, "-c", code, str(EXAMPLES / "candles.sql")]
    (tmp_path / "candles.csv").write_bytes(table.content)
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True, timeout=60)
    found = json.loads(done.stdout)
    rows = list(csv.DictReader(table.text.splitlines()))
    assert [sum(day[6] for day in found if day[0] == symbol) for symbol in ("BTCUSDT", "ETHUSDT")] == [48, 48]
    first = [row for row in rows if row["symbol"] == "BTCUSDT"][: found[0][6]]
    assert found[0][2:6] == [
        first[0]["open"],
        max(first, key=lambda row: float(row["high"]))["high"],
        min(first, key=lambda row: float(row["low"]))["low"],
        first[-1]["close"],
    ]


def test_the_panel_of_grafana_asks_for_columns_that_there_are(served: tuple[str, str]) -> None:
    dashboard = json.loads((EXAMPLES / "grafana-infinity.json").read_text())
    now_ms = int(time.time() * 1000)
    values = {each["name"]: each["current"].get("value", "") for each in dashboard["templating"]["list"]}
    values |= {"mdcache": served[1], "__from": str(now_ms - 6 * 3_600_000), "__to": str(now_ms)}
    (target,) = dashboard["panels"][0]["targets"]
    url = target["url"]
    for name, value in values.items():
        url = url.replace(f"${{{name}}}", value)
    assert "$" not in url
    rows = list(csv.DictReader(httpx.get(url, trust_env=False).raise_for_status().text.splitlines()))
    assert 359 <= len(rows) <= 361
    for column in target["columns"]:
        assert all(float(row[column["selector"]]) >= 0 for row in rows)
    shown = {column["text"] for column in target["columns"]}
    assert set(dashboard["panels"][0]["options"]["fields"].values()) <= shown


def test_what_the_page_shows_runs(served: tuple[str, str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "native-api.md").read_text(), re.DOTALL)
    assert len(blocks) == 4
    httpx.get(f"{served[1]}/v1/candles.arrow?{SERIES}", timeout=60, trust_env=False)  # the first one loads the library
    for block in blocks:
        printed: list[object] = []

        def stop(*shown: object, printed: list[object] = printed) -> None:  # two of them are loops
            printed.append(shown)
            raise _Enough

        code = block.replace("http://localhost:8700", served[1]).replace('"1m"', '"1s"')
        names: dict[str, object] = {"print": stop}
        with contextlib.suppress(_Enough):
            exec(code, names)  # noqa: S102 - our own page
        assert printed or "frame" in names


def load_example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_until(
    loop: ModuleType, url: str, memory: Path, acted: list[tuple[Candle, float]], enough: threading.Event
) -> threading.Thread:
    """Run the example in a thread."""

    def act(candle: Candle, rows: Sequence[Candle]) -> None:
        assert rows[-1] == candle
        acted.append((candle, time.time() - candle.close_time / 1000))
        if enough.is_set():
            raise _Enough

    def run() -> None:
        with Client(url) as mdcache, contextlib.suppress(_Enough):
            loop.follow(mdcache, ["BTCUSDT", "ETHUSDT"], "1s", memory, act)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def wait_for(acted: list[tuple[Candle, float]], more: int) -> None:
    goal, until_s = len(acted) + more, time.monotonic() + 30
    while len(acted) < goal:
        assert time.monotonic() < until_s, "the loop does not act"
        time.sleep(0.05)


def test_it_acts_once_on_each_closed_candle_and_never_on_old_ones(served: tuple[str, str], tmp_path: Path) -> None:
    exchange, url = served
    loop, memory = load_example("analysis_loop"), tmp_path / "position"
    acted: list[tuple[Candle, float]] = []
    enough = threading.Event()
    thread = run_until(loop, url, memory, acted, enough)
    wait_for(acted, 6)
    httpx.post(f"{exchange}/_sim/latency", json={"before_s": 600.0}).raise_for_status()  # it freezes
    time.sleep(6.0)
    frozen = len(acted)
    time.sleep(4.0)
    assert len(acted) == frozen
    httpx.post(f"{exchange}/_sim/latency", json={"before_s": 0.0}).raise_for_status()
    wait_for(acted, 4)
    enough.set()
    thread.join(10.0)
    assert not thread.is_alive()
    enough.clear()
    time.sleep(3.0)
    thread = run_until(loop, url, memory, acted, enough)  # it is started again
    wait_for(acted, 4)
    enough.set()
    thread.join(10.0)
    keys = [candle.key for candle, _ in acted]
    assert len(keys) == len(set(keys))
    assert {key[1] for key in keys} == {"BTCUSDT", "ETHUSDT"}
    assert max(late_s for _, late_s in acted) < 5 + 1 + 1.5  # the age, the length of a candle, what Binance takes
