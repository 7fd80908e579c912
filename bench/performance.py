"""Every ratio of `docs/performance.md`, measured side by side in one run: `make bench` prints and writes them.

    python -m bench.performance

What is compared runs in turn on the same core, in short rounds; a ratio is the median over the rounds. Absolute figures
drift with the machine; the ratios are the point.
"""

import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import growth, hits, mixed_load, reads, resident
from bench.processes import sim
from bench.rows import Row

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- figures: make bench -->", "<!-- end of figures -->"
PARTS: tuple[tuple[str, Callable[[str], list[Row]]], ...] = (
    ("Hits", hits.rows),
    ("Hits under load", mixed_load.rows),
    ("Reads", reads.rows),
    ("Memory", resident.rows),
    ("Growth", growth.rows),
)
_LIMIT = "1000000000"


def machine() -> str:
    """What it was measured on."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = models[0].partition(":")[2].strip() if models else platform.machine()
    return (
        f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}"
    )


def table(measured: Sequence[tuple[str, Sequence[Row]]]) -> str:
    """The figures as the page shows them."""
    lines = [f"Measured {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC: {machine()}.", ""]
    lines += ["| What | Measured | Aim | | Figures behind it |", "|---|---|---|---|---|"]
    for title, rows in measured:
        lines += [f"| **{title}** | | | | |", *(row.markdown() for row in rows)]
    return "\n".join(lines)


def write(figures: str) -> None:
    """Replace the figures of the page; what else it says stays."""
    text = PAGE.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    PAGE.write_text(f"{before}{begin}\n\n{figures}\n\n{end}{after}", encoding="utf-8")


def main() -> None:
    measured = []
    for title, measure in PARTS:
        with sim("--limit", _LIMIT, core=hits.LOAD_CORE) as upstream:
            rows = measure(upstream)
        for row in rows:
            print(row.line(), flush=True)
        measured.append((title, rows))
    write(table(measured))
    print(f"written to {PAGE}")


if __name__ == "__main__":
    main()
