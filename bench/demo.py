"""Whole histories of recorded rows, paged through the daemon as python-binance pages, twice.

    python -m bench.demo [ROWS]

ROWS is a folder `SYMBOL/INTERVAL/START.json`; without one, the sample in tests/fixtures/rows. The first pass must
equal the files byte for byte; the second must cost no call at all for closed history.
"""

import json
import sys
from pathlib import Path
from typing import Any

import httpx

from bench.processes import daemon, sim

SAMPLE = Path(__file__).parent.parent / "tests" / "fixtures" / "rows"
_STEPS_MS = {"15m": 900_000, "30m": 1_800_000, "1h": 3_600_000, "2h": 7_200_000, "4h": 14_400_000, "12h": 43_200_000}
_STEPS_MS |= {"1d": 86_400_000, "3d": 3 * 86_400_000, "1w": 7 * 86_400_000, "1M": 30 * 86_400_000}


def recorded(folder: Path) -> list[Any]:
    rows = {row[0]: row for file in sorted(folder.glob("*.json")) for row in json.loads(file.read_text())}
    return [rows[open_ms] for open_ms in sorted(rows)]


def pages(client: httpx.Client, symbol: str, interval: str, last_ms: int) -> list[Any]:
    """All rows, in pages of 1000, each from the last open time plus one interval, after a probe for the first."""
    query = {"symbol": symbol, "interval": interval}
    probe = client.get("/api/v3/klines", params=query | {"startTime": 0, "limit": 1, "endTime": last_ms})
    rows: list[Any] = []
    start = probe.raise_for_status().json()[0][0]
    while True:
        page = client.get(
            "/api/v3/klines", params=query | {"startTime": start, "endTime": last_ms, "limit": 1000}
        ).raise_for_status()
        rows += page.json()
        if len(page.json()) < 1000:
            return rows
        start = rows[-1][0] + _STEPS_MS[interval]


def calls(upstream: str) -> int:
    """Kline calls the exchange has answered so far."""
    log = httpx.get(f"{upstream}/_sim/log?limit=100000", trust_env=False).json()
    return sum(entry["path"].endswith("klines") for entry in log)


def main(folder: Path) -> int:
    wrong = 0
    with sim("--rows", str(folder.resolve())) as upstream, daemon(upstream, weight_share="0.9") as (url, _):
        print(f"{'series':<14} {'rows':>6} {'equal':>6} {'calls, first':>13} {'calls, again':>13}")
        for series in sorted(path for path in folder.glob("*/*") if path.is_dir()):
            symbol, interval = series.parent.name, series.name
            truth = recorded(series)
            last_ms = truth[-1][0]
            with httpx.Client(base_url=url, timeout=30.0, trust_env=False) as client:
                before = calls(upstream)
                first = pages(client, symbol, interval, last_ms)
                between = calls(upstream)
                second = pages(client, symbol, interval, last_ms)
                after = calls(upstream)
            equal = first == truth and second == truth
            wrong += not equal or after != between
            print(
                f"{symbol + ' ' + interval:<14} {len(truth):>6} {'yes' if equal else 'NO':>6} "
                f"{between - before:>13} {after - between:>13}"
            )
    print("all equal, and nothing asked twice" if not wrong else f"{wrong} series differ or were asked again")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLE))
