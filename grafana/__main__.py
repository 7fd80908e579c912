"""`python -m grafana`: writes the dashboards anew."""

import sys
from pathlib import Path

from grafana import BOARDS
from grafana.build import to_json

FOLDER = Path(__file__).parent / "dashboards"


def main() -> int:
    """Write a file for each board; returns the exit code."""
    for board in BOARDS:
        path = FOLDER / f"{board.uid}.json"
        path.write_text(to_json(board), encoding="utf-8")
        sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
