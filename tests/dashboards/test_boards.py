"""The committed dashboards are those the generator makes, whole, and of metrics that exist."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana import BOARDS
from grafana.build import to_json
from grafana.model import Board, Panel
from mdcache.serving.listener_status import END_REASONS
from mdcache.telemetry import catalogue
from tools.metrics_table import PROCESS

ROOT = Path(__file__).parents[2] / "grafana"
EXPORTED = {
    metric.full_name + end
    for metric in catalogue.ALL
    for end in (("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",))
} | {name for name, _ in PROCESS}
PANELS = [panel for board in BOARDS for panel in board.panels()]
boards = pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)


def read(board: Board) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "dashboards" / f"{board.uid}.json").read_text())
    return found


@boards
def test_the_committed_file_is_what_the_generator_makes(board: Board) -> None:
    assert (ROOT / "dashboards" / f"{board.uid}.json").read_text() == to_json(board)


def test_there_is_no_other_dashboard() -> None:
    assert {path.stem for path in (ROOT / "dashboards").iterdir()} == {board.uid for board in BOARDS}


@boards
def test_the_schema_takes_it_and_gives_it_back(board: Board) -> None:
    again = json.dumps(Dashboard.from_json(read(board)), cls=JSONEncoder)
    assert json.loads(again) == read(board)


@boards
def test_every_query_of_the_generator_is_in_the_file(board: Board) -> None:
    shown = [target["expr"] for panel in read(board)["panels"] for target in panel.get("targets", ())]
    assert shown == [query.expr for panel in board.panels() for query in panel.queries]


@boards
def test_panels_lie_beside_each_other_and_have_numbers_of_their_own(board: Board) -> None:
    panels = read(board)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) == 23


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)
def test_queries_name_only_what_is_exported(panel: Panel) -> None:
    for query in panel.queries:
        named = set(re.findall(r"\b(?:mdcache|process)_\w+", query.expr))
        assert named <= EXPORTED
        assert named or "up{" in query.expr or "ALERTS{" in query.expr


def test_every_metric_is_on_some_board() -> None:
    shown = " ".join(query.expr for panel in PANELS for query in panel.queries)
    assert [metric.full_name for metric in catalogue.ALL if metric.full_name not in shown] == []


def test_every_variable_is_used_by_its_board() -> None:
    for board in BOARDS:
        shown = " ".join(query.expr for panel in board.panels() for query in panel.queries)
        assert [variable.name for variable in board.variables if f"${variable.name}" not in shown] == []


def test_provisioning_points_at_what_there_is() -> None:
    sources = yaml.safe_load((ROOT / "provisioning/datasources/prometheus.yaml").read_text())
    assert [source["type"] for source in sources["datasources"]] == ["prometheus"]
    (source,) = sources["datasources"]
    assert source["isDefault"] is False
    assert "mdcache" in source["uid"]
    assert "mdcache" in source["name"]  # provisioning replaces whatever has the same name
    providers = yaml.safe_load((ROOT / "provisioning/dashboards/mdcache.yaml").read_text())
    assert [provider["type"] for provider in providers["providers"]] == ["file"]


def test_the_panel_of_closed_listeners_names_every_reason() -> None:
    (panel,) = (panel for panel in PANELS if panel.title == "Listeners closed")
    assert {reason for reason in END_REASONS if not re.search(rf"\b{reason}\b", panel.about)} == set()
