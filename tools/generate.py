"""Write the files that are made from code: `python -m tools.generate`; with the dashboards: `make generate`."""

from collections.abc import Callable, Mapping
from pathlib import Path

from tools import (
    chart,
    configuration,
    dependencies_page,
    env_example,
    metrics_table,
    modules_table,
    openapi,
    openapi_capture,
    paths_table,
    runbook_page,
    verify_table,
)

ROOT = Path(__file__).parents[1]
FILES: Mapping[str, Callable[[], str]] = {
    ".env.example": env_example.text,
    "docs/configuration.md": configuration.text,
    "docs/dependencies.md": dependencies_page.text,
    "docs/metrics.md": metrics_table.text,
    "docs/modules.md": modules_table.text,
    "docs/paths.md": paths_table.text,
    "docs/verify.md": verify_table.text,
    "tools/openapi_examples.json": openapi_capture.text,
    "mdcache/serving/ops/page/openapi.json": openapi.text,
    "mdcache/serving/ops/page/runbook.html": runbook_page.text,
    **chart.FILES,
}


def main() -> None:
    """Write them all."""
    for name, text in FILES.items():
        (ROOT / name).write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
