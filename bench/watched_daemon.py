"""The daemon, with a watch over its event loop: how long it was held at a time.

    python -m bench.watched_daemon FILE [the daemon's command, which runs in this process]

A timer is due each millisecond. What it is late, but no more than the CPU that this process used meanwhile, is for how
long the loop was held: that leaves out what other processes take. At the end, FILE gets all of it: pairs of seconds
(of CLOCK_MONOTONIC, which all processes share) and milliseconds.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from mdcache.cli.console import SettingsSource
from mdcache.daemon import lifecycle

_EVERY_S = 0.001


async def watch(held: list[tuple[float, float]]) -> None:
    while True:
        began, used = time.perf_counter(), time.process_time()
        await asyncio.sleep(_EVERY_S)
        late_s = time.perf_counter() - began - _EVERY_S
        held.append((time.monotonic(), 1000 * min(late_s, time.process_time() - used)))


def main(file: Path) -> None:
    held: list[tuple[float, float]] = []
    parts = vars(lifecycle)
    serve = parts["serve"]

    async def watched(*arguments: Any, **options: Any) -> None:
        watching = asyncio.create_task(watch(held))
        try:
            await serve(*arguments, **options)
        finally:
            watching.cancel()

    parts["serve"] = watched
    source = SettingsSource()
    lifecycle.run(source.read(), source.read)
    file.write_text(json.dumps(held))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
