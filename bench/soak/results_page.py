"""Write what a soak showed into docs/reliability.md, between marks."""

import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.soak.record import Record
from bench.soak.troubles import START
from bench.soak.verdict import Check, recoveries, start_s

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
_PICTURE = (
    "Memory, descriptors, tasks, ages of answers, weight and listeners of three replicas over the run, beneath them "
    "each fault and when not all was ready"
)
BEGIN, END = "<!-- soak: begin -->\n", "<!-- soak: end -->\n"


def write_page(record: Record, checks: Sequence[Check], page: Path = PAGE) -> None:
    """Replace what stands between the marks. Raises `OSError`."""
    before, mark, rest = page.read_text().partition(BEGIN)
    assert mark, f"{page} has no {BEGIN}"
    page.write_text(before + BEGIN + "".join(_lines(record, checks)) + END + rest.partition(END)[2])


def _lines(record: Record, checks: Sequence[Check]) -> Iterator[str]:
    start = next(record.of("start"))
    when = time.strftime("%Y-%m-%d", time.gmtime(start_s(record)))
    faults = [each for each in record.of("fault") if each["name"] != START]
    yield f"\n`make soak MINUTES={start['minutes']:g}`, run on {when} with seed {start['seed']} and {start['series']} "
    yield f"series: {len(faults)} faults in {(record.entries[-1]['at_s'] - start_s(record)) / 60:.0f} minutes.\n\n"
    yield "| Check | Kept | Figures |\n|---|---|---|\n"
    for check in checks:
        kept = f"**no ({len(check.against)})**" if check.against else "yes"
        yield f"| {check.name} | {kept} | {check.said} |\n"
    yield f"\n![{_PICTURE}](pictures/soak.svg)\n"
    took: dict[str, list[float | None]] = defaultdict(list)
    for fault, after_s, overtaken in recoveries(record):
        if fault["name"] != START:
            took[fault["name"]].append(None if overtaken else after_s)
    yield "\n| Fault | Times | Ready again after its end, at most |\n|---|---|---|\n"
    for name, seconds in sorted(took.items(), key=lambda each: each[0].lower()):
        known = [each for each in seconds if each is not None]
        yield f"| {name} | {len(seconds)} | {max(known, default=math.nan):.1f} s |\n"
    yield "\n"
