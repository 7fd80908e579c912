"""A minute of the incident, and a minute of it in a ban: directly, through nginx, through mdcache.

    python -m bench.peers [direct nginx mdcache]

nginx keeps a 200 for 2 s, as mdcache does an open candle here (by default longer for longer intervals). The ban
comes right after the first minute.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import Iterator

import httpx

from bench import incident
from bench.processes import daemon, nginx, sim

SECONDS = 60.0
BAN_S = 90  # longer than the minute that is measured
OK = 200


@contextlib.contextmanager
def peer(name: str, upstream: str) -> Iterator[str]:
    """The URL to ask."""
    if name == "direct":
        yield upstream
    elif name == "nginx":
        with nginx(upstream, valid="2s") as (url, _):
            yield url
    else:
        with daemon(upstream, weight_share="0.8", open_candle_ttl_s="2") as (url, _):
            yield url


def trading(upstream: str) -> list[str]:
    """The symbols of the incident."""
    info = httpx.get(f"{upstream}/api/v3/exchangeInfo", trust_env=False).raise_for_status().json()
    named = [each["symbol"] for each in info["symbols"] if each["status"] == "TRADING" and each["symbol"].isascii()]
    return named[: incident.SYMBOLS]


def minute(
    url: str, upstream: str, symbols: list[str], *, banned: bool
) -> tuple[incident.ConsumerTally, list[int], int]:
    """What the consumers saw in a minute; the status of each kline call that arrived; the weight it cost."""
    if banned:  # at once: the caches are warm
        ban = {"family": "spot", "seconds": BAN_S}
        httpx.post(f"{upstream}/_sim/ban", json=ban, trust_env=False).raise_for_status()
    else:
        time.sleep(60 - time.time() % 60)  # limits count whole UTC minutes
    since_ms = int(time.time() * 1000)
    tally = asyncio.run(incident.crowd(url, symbols, SECONDS))
    log = httpx.get(f"{upstream}/_sim/log?limit=100000", trust_env=False).json()
    calls = [entry for entry in log if entry["at_ms"] >= since_ms and entry["path"].endswith("lines")]
    return tally, [entry["status"] for entry in calls], sum(e["weight"] for e in calls if e["status"] == OK)


def measure(name: str) -> None:
    with sim() as upstream, peer(name, upstream) as url:
        symbols = trading(upstream)
        for banned in (False, True):
            tally, statuses, weight = minute(url, upstream, symbols, banned=banned)
            refused = sum(status != OK for status in statuses)
            age = f"{tally.worst_age_s:.1f} s" if name == "mdcache" else "not told"
            what = "in a ban" if banned else "a minute"
            print(
                f"{name:<8} {what:<9} {tally.asked:>9} {tally.failed:>7} {weight:>7} {len(statuses):>6} {refused:>8}"
                f" {tally.marked:>7} {age:>9}",
                flush=True,
            )


def main() -> None:
    print(
        f"{'':<18} {'questions':>9} {'failed':>7} {'weight':>7} {'calls':>6} {'refused':>8} {'marked':>7} {'oldest':>9}"
    )
    for name in sys.argv[1:] or ("direct", "nginx", "mdcache"):
        measure(name)


if __name__ == "__main__":
    main()
