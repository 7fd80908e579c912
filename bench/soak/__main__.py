"""`make soak`: an hour of the incident on three replicas, with a fault every 30 s.

    python -m bench.soak [--minutes 60] [--seed 21] [--symbols 20] [--record FILE]
    python -m bench.soak --from FILE

What was seen is judged (exit code 1 if a promise was broken); `--page` writes docs/pictures/soak.svg and the section
in docs/reliability.md, too.
"""

import argparse
import signal
import sys
import time
from pathlib import Path

from bench.soak.drive import soak
from bench.soak.panels import draw
from bench.soak.record import Record, read_record
from bench.soak.results_page import write_page
from bench.soak.verdict import judge

_SHOWN = 20  # of what is against a check


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=21, help="which faults come in which order (default: 21)")
    parser.add_argument("--symbols", type=int, default=20, help="of spot, each in six intervals (default: 20)")
    parser.add_argument("--record", type=Path, help="where to write what is seen (default: .run/soak-TIME.jsonl)")
    parser.add_argument("--from", dest="source", type=Path, help="judge what was seen in an earlier run")
    parser.add_argument("--page", action="store_true", help="write the picture, and the section in the documentation")
    given = parser.parse_args()
    record = read_record(given.source) if given.source else _run(given)
    checks = judge(record)
    for check in checks:
        print(f"{'NO ' if check.against else 'yes'}  {check.name}: {check.said}")
        for text in check.against[:_SHOWN]:
            print(f"       {text}")
        if len(check.against) > _SHOWN:
            print(f"       … and {len(check.against) - _SHOWN} more")
    if given.page:
        draw(record)
        write_page(record, checks)
    return int(any(check.against for check in checks))


def _run(given: argparse.Namespace) -> Record:
    file: Path = given.record or Path(".run") / f"soak-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    print(f"what is seen is written to {file}", flush=True)
    record = Record([], file)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)  # what was started is ended
    try:
        soak(given.minutes, given.seed, given.symbols, record)
    finally:
        record.close()
    return record


if __name__ == "__main__":
    sys.exit(main())
