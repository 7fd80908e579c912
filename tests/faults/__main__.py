"""`make faults`: every fault, each for longer than the tests try it, and the table in docs/reliability.md."""

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from tests.faults.clock_faults import CLOCKS
from tests.faults.disk_faults import DISK
from tests.faults.matrix import ALONE, CASES, trying
from tests.faults.process_faults import PROCESS
from tests.faults.redis_faults import REDIS
from tests.faults.status_faults import STATUSES
from tests.faults.stream_faults import STREAMS
from tests.faults.trial import Outcome, Promise
from tests.faults.upstream_faults import UPSTREAM
from tests.support.processes import sim
from tests.support.sim_client import SimClient

_PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
_BEGIN, _END = "<!-- faults: begin -->\n", "<!-- faults: end -->\n"
_PATIENCE_S = 900.0
_SECONDS = 12.0
_BENCHES = {"alone": 4, "pair": 2, "streamed": 2}
_TABLES = {
    "Exchange and machine": (*UPSTREAM, *STATUSES, *PROCESS, *CLOCKS),
    "Disk": DISK,
    "Redis, shared by two": REDIS,
    "Streams": STREAMS,
}


def summary(lines: list[str], when: str) -> str:
    """Return what the lines of the tables say in sum."""
    rows = [cells for line in lines if (cells := line.strip("| \n").split(" | "))[-1].endswith(" s")]
    told = sum(int(cell) for cells in rows for cell in cells[-5:-2])
    kept = sum(not any(cell.startswith("**no") for cell in cells) for cells in rows)
    counts = f"{len(rows)} faults, {told:,} answers under them. Every promise was kept in {kept}."
    return f"\nTried on {when}, each for {_SECONDS:g} s or longer: {counts}\n\n"


def table(outcomes: list[Outcome]) -> Iterator[str]:
    """Yield the lines of the tables."""
    for title, bench in _TABLES.items():
        mine = [each for each in outcomes if each.case.name in {case.name for case in bench}]
        if not mine:
            continue
        promises = [promise for promise in Promise if promise in mine[0].promises]
        heads = [title, *promises, "Fresh", "Marked", "Refused", "Upstream", "Ready after"]
        yield f"| {' | '.join(heads)} |\n"
        yield f"|{'---|' * len(heads)}\n"
        for each in mine:
            kept = ["yes" if not each.broken[one] else f"**no ({len(each.broken[one])})**" for one in promises]
            counts = [str(count) for count in (each.fresh, each.marked, each.refused, each.asked)]
            yield f"| {' | '.join([each.case.name, *kept, *counts, f'{each.recovery_s:.1f} s'])} |\n"
        yield "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("names", nargs="*", help="only faults whose name contains one of these")
    parser.add_argument("--seconds", type=float, default=_SECONDS, help="how long a fault lasts; less writes no page")
    asked = parser.parse_args()
    cases, alone = (
        {kind: [case for case in each if _matches(case.name, asked.names)] for kind, each in all_.items()}
        for all_ in (CASES, ALONE)
    )
    outcomes = []
    with (
        sim() as url,
        closing(SimClient(url)) as exchange,
        sim() as other_url,
        closing(SimClient(other_url)) as other,
        trying(exchange, cases, _BENCHES, asked.seconds, long=True) as found,
        trying(other, alone, {"alone": 1}, asked.seconds, long=True) as lonely,
    ):
        for name, future in (found | lonely).items():
            outcomes.append(future.result(_PATIENCE_S))
            broken = {promise.value: texts for promise, texts in outcomes[-1].broken.items() if texts}
            print(f"{name}: {broken or 'every promise kept'}", flush=True)
    if asked.seconds >= _SECONDS:
        write(outcomes, whole=not asked.names)
    return any(texts for each in outcomes for texts in each.broken.values())


def write(outcomes: list[Outcome], *, whole: bool) -> None:
    """Write the page anew, or these lines of it."""
    before, _, rest = _PAGE.read_text().partition(_BEGIN)
    shown, _, after = rest.partition(_END)
    lines = list(table(outcomes))
    if not whole:
        new = {line.split(" | ")[0]: line for line in lines}
        lines = [new.get(line.split(" | ")[0], line) for line in shown.splitlines(keepends=True)[3:]]
    text = summary(lines, time.strftime("%Y-%m-%d", time.gmtime())) + "".join(lines)
    _PAGE.write_text(before + _BEGIN + text + _END + after)


def _matches(name: str, parts: list[str]) -> bool:
    return not parts or any(part in name for part in parts)


if __name__ == "__main__":
    sys.exit(main())
