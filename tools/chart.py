"""What the Helm chart takes from elsewhere: names of settings, alerts, dashboards. Helm reads only what lies in it."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from grafana import BOARDS
from grafana.build import to_json
from grafana.model import Board
from mdcache.settings import Settings

ROOT = Path(__file__).parents[1]
CHART = "deploy/helm/mdcache"
RULES = ("alerts.yaml", "recording.yaml")
SET_BY_THE_CHART = frozenset({"host", "port", "state_dir", "redis_url", "admin_token"})


def schema() -> str:
    """Return values.schema.json with the names of all settings that may be given."""
    document = json.loads((ROOT / CHART / "values.schema.json").read_text(encoding="utf-8"))
    names = [name.upper() for name in Settings.model_fields if name not in SET_BY_THE_CHART]
    document["properties"]["settings"]["propertyNames"]["enum"] = names
    return json.dumps(document, indent=2) + "\n"


def _rules(name: str) -> Callable[[], str]:
    return lambda: (ROOT / "deploy/prometheus" / name).read_text(encoding="utf-8")


def _dashboard(board: Board) -> Callable[[], str]:
    return lambda: to_json(board)


FILES: Mapping[str, Callable[[], str]] = {
    f"{CHART}/values.schema.json": schema,
    **{f"{CHART}/files/rules/{name}": _rules(name) for name in RULES},
    **{f"{CHART}/files/dashboards/{board.uid}.json": _dashboard(board) for board in BOARDS},
}
