"""Every query of the dashboards, and the alerts that the simulated exchange can trigger, in a real Prometheus."""

import re
import subprocess
from pathlib import Path

import pytest

from grafana import BOARDS
from grafana.model import Fault, Query
from mdcache.telemetry import catalogue
from tests.dashboards.scene import FIRING, PENDING, Scene, play, prometheus, queries
from tests.support.processes import daemon, sim
from tests.support.programs import promtool

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.processes, pytest.mark.untraced]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return play(tmp_path_factory.mktemp("prometheus"))


@pytest.mark.parametrize("query", [query for query in queries() if query.needs is None], ids=lambda query: query.expr)
def test_a_query_shows_something_under_load(scene: Scene, query: Query) -> None:
    assert scene.quiet[query] is not None


@pytest.mark.parametrize("query", [query for query in queries() if query.needs], ids=lambda query: query.expr)
def test_a_query_that_needs_a_fault_shows_it_and_was_silent_before(scene: Scene, query: Query) -> None:
    assert not scene.quiet[query]
    assert scene.troubled[query]


def test_every_fault_is_needed_by_some_query() -> None:
    assert {query.needs for query in queries()} == {None, *Fault}


def test_every_variable_has_choices(scene: Scene) -> None:
    for board in BOARDS:
        for variable in board.variables:
            assert scene.values[variable.selector + variable.label], variable.name
            assert "other" not in scene.values[variable.selector + variable.label], variable.name


@pytest.mark.parametrize(
    ("alert", "state"),
    [*((alert, "firing") for alert in FIRING), *((alert, "pending") for alert in (*PENDING, "MdcacheDown"))],
)
def test_an_alert_fires_for_real(scene: Scene, alert: str, state: str) -> None:
    assert scene.alerts.get(alert) == state


@pytest.mark.parametrize("alert", ["MdcacheNoTraffic", "MdcacheStoreDown", "MdcacheClockOffset", "MdcacheFailures"])
def test_an_alert_stays_silent_for_real(scene: Scene, alert: str) -> None:
    assert alert not in scene.alerts


def test_the_runbooks_recipe_fires_its_alert_when_pasted(tmp_path: Path) -> None:
    (block,) = re.findall(r"```console\n(.*?)```", (ROOT / "docs/runbook.md").read_text(), re.DOTALL)
    lines = [line.removeprefix("$ ") for line in block.splitlines()]
    assert lines[0] == "make run SIM=1 &"
    assert lines[1].startswith("prometheus --config.file=deploy/prometheus/prometheus.yaml ")
    with sim() as upstream, daemon(upstream) as (url, _), prometheus(url.removeprefix("http://"), tmp_path) as source:
        script = "\n".join(lines[2:])
        for port, real in (("8700", url), ("8701", upstream), ("9090", source.url)):
            script = script.replace(f"localhost:{port}", real)
        command = ["bash", "-eu", "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert '"runbook_url":"docs/runbook.md#mdcachebanned"' in done.stdout.splitlines()[-1]
    assert '"state":"firing"' in done.stdout.splitlines()[-1]


def test_promtool_finds_nothing_wrong_with_what_the_daemon_exports(scene: Scene) -> None:
    done = promtool("check", "metrics", page=scene.page)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_daemon_exports_what_is_documented_and_nothing_else(scene: Scene) -> None:
    documented = set(re.findall(r"^\| `(\w+)[`{]", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE))
    exported = set(re.findall(r"^# TYPE (\w+) ", scene.page, re.MULTILINE))
    assert exported == documented


def test_every_metric_has_a_sample_after_all_that(scene: Scene) -> None:
    for metric in catalogue.ALL:
        name = metric.full_name + ("_count" if metric.kind == "histogram" else "")
        assert re.search(rf"^{name}[ {{]", scene.page, re.MULTILINE), name


def test_no_reason_or_endpoint_is_unforeseen(scene: Scene) -> None:
    assert not re.findall(
        r'^.*(?:reason|endpoint|market|family|lane|tier|op|what)="other".*$', scene.page, re.MULTILINE
    )


def test_open_metrics_on_request_without_exemplars(scene: Scene) -> None:
    assert scene.open_metrics.endswith("# EOF\n")
    assert " # {" not in scene.open_metrics
