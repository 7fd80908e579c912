"""A real Prometheus that scrapes a daemon under the incident's load, while faults are injected."""

import contextlib
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from grafana import BOARDS
from grafana.model import Fault, Query
from tests.support.processes import daemon, free_port, running, sim
from tests.support.programs import find
from tests.support.waiting import allowed_s

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "deploy" / "prometheus" / "prometheus.yaml"
MINUTE_MS = 60_000
DATA_DEADLINE_S = 40.0
FAULT_DEADLINE_S = 25.0
FIRING = ("MdcacheBanned", "MdcacheForbidden", "MdcacheBodiesRejected", "MdcacheBodiesOdd", "MdcacheRevisions")
PENDING = ("MdcacheTailsStale", "MdcacheErrors")  # these wait for two minutes, as their unit tests show
INSTEAD = {"$__rate_interval": "5s", "$job": ".*", "$instance": ".*", "$market": ".*", "$endpoint": ".*", "$lane": ".*"}


@dataclass
class Scene:
    """Prometheus' answers: `quiet` before any fault was injected, `troubled` once a fault showed."""

    quiet: dict[Query, float | None] = field(default_factory=dict)
    troubled: dict[Query, float | None] = field(default_factory=dict)
    values: dict[str, list[str]] = field(default_factory=dict)
    alerts: dict[str, str] = field(default_factory=dict)
    page: str = ""
    open_metrics: str = ""


def queries() -> list[Query]:
    """Every query of every board, once, the marks on the time axis among them."""
    found = [q for board in BOARDS for q in (board.marks, *(q for panel in board.panels() for q in panel.queries))]
    return list(dict.fromkeys(found))


def plain(expression: str) -> str:
    """The expression as Grafana would send it, with everything chosen."""
    for variable, value in INSTEAD.items():
        expression = expression.replace(variable, value)
    return expression


class Prometheus:
    """The HTTP API of a running Prometheus."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    @property
    def url(self) -> str:
        """Its address."""
        return str(self._client.base_url).rstrip("/")

    def _get(self, path: str, **parameters: str) -> Any:
        reply = self._client.get(f"/api/v1/{path}", params=parameters)
        body = reply.json()
        assert body["status"] == "success", (parameters, body)
        return body["data"]

    def most(self, expression: str) -> float | None:
        """Return the largest number it has now; `None` if it has none."""
        found = [float(each["value"][1]) for each in self._get("query", query=plain(expression))["result"]]
        return max((value for value in found if not math.isnan(value)), default=None)

    def choices(self, label: str, selector: str) -> list[str]:
        """What a variable of Grafana offers."""
        found: list[str] = self._get(f"label/{label}/values", **{"match[]": plain(selector)})
        return found

    def alerts(self) -> dict[str, str]:
        """Alerts that fire or are about to; `firing` where any of a name does."""
        states: dict[str, str] = {}
        for alert in self._get("alerts")["alerts"]:
            name = alert["labels"]["alertname"]
            if states.get(name) != "firing":
                states[name] = alert["state"]
        return states


class Door:
    """The control door of the simulated exchange."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream

    def bring_on(self, action: str, **arguments: object) -> None:
        """Pull one lever."""
        reply = httpx.post(f"{self._upstream}/_sim/{action}", json=arguments, trust_env=False, timeout=10.0)
        reply.raise_for_status()


@contextlib.contextmanager
def prometheus(target: str, folder: Path) -> Iterator[Prometheus]:
    """Prometheus with our configuration and rules, but once a second, and a target on another port."""
    config = yaml.safe_load(CONFIG.read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(CONFIG.parent / name) for name in config["rule_files"]]
    config["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = [
        find("prometheus"),
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    with (
        running(command, f"http://{address}/-/ready"),
        httpx.Client(base_url=f"http://{address}", trust_env=False, timeout=10.0) as client,
    ):
        yield Prometheus(client)


@contextlib.contextmanager
def load(url: str, symbols: list[str]) -> Iterator[None]:
    """The incident's consumers, and one more that asks other paths, in a process of their own until the block's end."""
    command = [sys.executable, "-m", "tests.dashboards.load", url, *symbols]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield
            assert process.poll() is None, process.stderr and process.stderr.read()
        finally:
            process.kill()


def play(folder: Path) -> Scene:
    """Everything: load, quiet, faults, a ban, and the daemon's end."""
    scene = Scene()
    own = {"weight_share": "0.8", "max_stale_s": "6", "clients": '{"others":"low"}'}
    with sim() as upstream, daemon(upstream, **own) as (url, process):
        listed = httpx.get(f"{upstream}/api/v3/exchangeInfo", trust_env=False).json()["symbols"]
        symbols = [s["symbol"] for s in listed if s["status"] == "TRADING" and s["symbol"].isascii()][:20]
        with prometheus(url.removeprefix("http://"), folder) as source:
            with load(url, symbols):
                _watch(scene, source)
                _bring_on_faults(scene, source, Door(upstream), symbols)
                scene.page = httpx.get(f"{url}/metrics", trust_env=False).text
                accept = {"accept": "application/openmetrics-text; version=1.0.0"}
                scene.open_metrics = httpx.get(f"{url}/metrics", headers=accept, trust_env=False).text
            process.terminate()
            _until(lambda: "MdcacheDown" in source.alerts(), FAULT_DEADLINE_S)
            scene.alerts["MdcacheDown"] = source.alerts().get("MdcacheDown", "")
    return scene


def _watch(scene: Scene, source: Prometheus) -> None:
    """Nothing is wrong: fill `quiet` and `values`."""
    steady = [query for query in queries() if query.needs is None]
    variables = [variable for board in BOARDS for variable in board.variables]

    def seen() -> bool:
        for variable in variables:
            scene.values[variable.selector + variable.label] = source.choices(variable.label, variable.selector)
        return _all_shown(source, steady, scene.quiet) and all(scene.values.values())

    def silent() -> bool:
        spoken = {query: source.most(query.expr) for query in queries() if query.needs}
        scene.quiet |= spoken
        return not any(spoken.values())

    _until(seen, DATA_DEADLINE_S)
    _until(silent, DATA_DEADLINE_S)  # what the first, cold seconds of a busy machine did is over by then


def _bring_on_faults(scene: Scene, source: Prometheus, door: Door, symbols: list[str]) -> None:
    """First what spoils data, then a ban: fill `troubled` and `alerts`."""
    _spoil(door, symbols)
    wanted = [query for query in queries() if query.needs not in {None, Fault.BAN}]
    _until(lambda: _all_above_0(source, wanted, scene.troubled), FAULT_DEADLINE_S)
    door.bring_on("skew_date", seconds=0.0)
    door.bring_on("clear_faults")
    door.bring_on("ban", family="spot", seconds=120.0)
    banned = [query for query in queries() if query.needs is Fault.BAN]
    _until(lambda: _all_above_0(source, banned, scene.troubled), FAULT_DEADLINE_S)
    _until(lambda: {*FIRING, *PENDING} <= source.alerts().keys(), FAULT_DEADLINE_S)
    scene.alerts = source.alerts()


def _spoil(door: Door, symbols: list[str]) -> None:
    """Every fault but the ban, at once: each strikes another path or question.

    The shortest interval is read for all, from which the others are derived.
    """
    klines = "/api/v3/klines"
    revised, *others = symbols
    for kind, symbol in zip(("500", "crossed", "more_columns"), others, strict=False):
        door.bring_on("fault", kind=kind, path=klines, contains=f"symbol={symbol}&interval=1m", count=2)
    door.bring_on("fault", kind="403", path="/fapi/v1/klines", count=1)
    door.bring_on("skew_date", seconds=30.0)
    closed_ms = (int(time.time() * 1000) // MINUTE_MS - 5) * MINUTE_MS
    door.bring_on("revise", path=klines, name=revised, interval="1m", open_ms=closed_ms, volume="1", trades=1)


def _all_shown(source: Prometheus, wanted: list[Query], found: dict[Query, float | None]) -> bool:
    for query in wanted:
        if found.get(query) is None:
            found[query] = source.most(query.expr)
    return all(found[query] is not None for query in wanted)


def _all_above_0(source: Prometheus, wanted: list[Query], found: dict[Query, float | None]) -> bool:
    for query in wanted:
        if not found.get(query):
            found[query] = source.most(query.expr)
    return all(found[query] for query in wanted)


def _until(done: Callable[[], bool], deadline_s: float) -> None:
    """Look until `done`, or the deadline: what is missing then fails in the test about it."""
    end_s = time.monotonic() + allowed_s(deadline_s)
    while not done() and time.monotonic() < end_s:
        time.sleep(0.25)
