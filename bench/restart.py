"""What a restart costs under the incident's load: with the folder it had, and with an empty one.

    python -m bench.restart [--seconds 20]

The daemon is killed with -9 and started again in the middle of 20 symbols x 6 timeframes x 3 consumers. Counted is
what reached the exchange in the seconds after the start: a tail read asks for 100 rows, a cold page for 1,000.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from urllib.parse import parse_qs

import httpx

from bench.incident import INTERVALS, SYMBOLS, ConsumerTally, crowd
from bench.processes import daemon, sim

_SHARE = "0.9"
_TTL_S = "2"  # of all intervals: docs/disk.md counts the reads
_SETTLES_S = 75.0  # a page's closed rows settle by one read a minute after their close, and are written within 1 s


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20.0)
    seconds = parser.parse_args().seconds
    rows: list[tuple[str, ConsumerTally, Counter[str], int]] = []
    with sim() as upstream, tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as empty:
        info = httpx.get(f"{upstream}/api/v3/exchangeInfo", trust_env=False).json()
        symbols = [s["symbol"] for s in info["symbols"] if s["status"] == "TRADING" and s["symbol"].isascii()][:SYMBOLS]
        with daemon(upstream, state_dir=folder, weight_share=_SHARE, open_candle_ttl_s=_TTL_S) as (url, process):
            asyncio.run(crowd(url, symbols, _SETTLES_S))
            process.kill()
            process.wait()
        for name, place in (("its own folder", folder), ("an empty folder", empty)):
            time.sleep(60 - time.time() % 60)  # limits count whole UTC minutes
            since_ms = int(time.time() * 1000)
            with daemon(upstream, state_dir=place, weight_share=_SHARE, open_candle_ttl_s=_TTL_S) as (url, _):
                tally = asyncio.run(crowd(url, symbols, seconds))
            log = httpx.get(f"{upstream}/_sim/log?limit=100000", trust_env=False).json()
            reads = [entry for entry in log if entry["at_ms"] >= since_ms and entry["path"].endswith("klines")]
            limits = Counter(parse_qs(entry["query"])["limit"][0] for entry in reads)
            rows.append((name, tally, limits, sum(entry["weight"] for entry in reads)))
    print(
        f"{SYMBOLS} symbols x {len(INTERVALS)} timeframes, the first {seconds:.0f} s after kill -9 and a start with …"
    )
    print(f"{'':<16} {'questions':>9} {'failed':>7} {'tail reads':>11} {'pages':>6} {'rows asked':>11} {'weight':>7}")
    for name, tally, limits, weight in rows:
        pages = sum(count for limit, count in limits.items() if int(limit) > 100)
        asked = sum(int(limit) * count for limit, count in limits.items())
        tails = limits.total() - pages
        print(f"{name:<16} {tally.asked:>9} {tally.failed:>7} {tails:>11} {pages:>6} {asked:>11} {weight:>7}")
    kept = rows[0]
    return 1 if kept[1].failed or any(int(limit) > 100 for limit in kept[2]) else 0


if __name__ == "__main__":
    sys.exit(main())
