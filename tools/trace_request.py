"""Count the functions and modules of mdcache that one request passes: a hit, a refresh and a cold miss.

    .venv/bin/python -m tools.trace_request

A simulated exchange runs in a process of its own; the daemon is built in this one from the default settings (but for a
longer TTL), with neither Redis nor a state directory, and asked through its ASGI application. One process must never
come to a module under `replicas/` or `redis/`: the exit code is 1 if it does.
"""

import asyncio
import random
import sys
from collections import Counter
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from http import HTTPStatus
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

from mdcache.clock import SystemClock
from mdcache.daemon.build import build
from mdcache.events import Events
from mdcache.replay.processes import sim
from mdcache.serving.app import App
from mdcache.settings import load

PACKAGE = Path(__file__).parents[1] / "mdcache"
QUERY = b"symbol=BTCUSDT&interval=1m&limit=500"
TTL_S = 10.0  # the default is too short for a traced hit on a busy machine
CASES = (  # what is asked for, and the seconds to wait before
    ("cold miss, 500 rows", 0.0),
    ("hit in the data path", 0.0),
    ("ready answer", 0.0),
    ("refresh of an expired tail", TTL_S + 0.3),
)


class Trace:
    """Calls of the package's own functions, in their order: module and qualified name."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        """Take one event of `sys.setprofile`."""
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PACKAGE):
            self.calls.append((str(path.relative_to(PACKAGE)), frame.f_code.co_qualname))

    @property
    def modules(self) -> set[str]:
        """All modules that were entered."""
        return {module for module, _ in self.calls}

    def line(self, case: str) -> str:
        """One line of the table."""
        changes = sum(before != after for (before, _), (after, _) in pairwise(self.calls))
        layers = Counter(module.split("/")[0].removesuffix(".py") for module in sorted(self.modules))
        found = ", ".join(f"{layer} {count}" for layer, count in layers.most_common())
        functions = len(set(self.calls))
        return f"{case:27}{len(self.calls):7,}{functions:11}{len(self.modules):9}{changes:9,}  {found}"

    def strayed(self) -> list[str]:
        """Modules that one process has no business in."""
        return sorted(module for module in self.modules if "replicas/" in module or "redis/" in module)


@contextmanager
def tracing() -> Iterator[Trace]:
    """Record all calls made in this thread."""
    trace = Trace()
    sys.setprofile(trace)
    try:
        yield trace
    finally:
        sys.setprofile(None)


async def ask(app: App, path: str, query: bytes) -> int:
    """Send one GET through the ASGI application; return its status."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query,
        "headers": [],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8700),
        "extensions": {},
    }
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return int(sent[0]["status"])


async def measure(url: str) -> int:
    """Print the table; return how many cases strayed."""
    names = ("MDCACHE_SPOT_URL", "MDCACHE_USDM_URL", "MDCACHE_COINM_URL")
    settings = load(dict.fromkeys(names, url) | {"MDCACHE_OPEN_CANDLE_TTL_S": str(TTL_S)})
    daemon = build(settings, SystemClock(), random.Random(1), Events())
    await daemon.start()
    await ask(daemon.app, "/api/v3/klines", b"symbol=ETHUSDT&interval=1m&limit=5")  # clock measured, symbols known
    strayed = 0
    print(f"{'case':27}{'calls':>7}{'functions':>11}{'modules':>9}{'changes':>9}  modules by layer")
    for case, wait_s in CASES:
        await asyncio.sleep(wait_s)
        with tracing() as trace:
            status = await ask(daemon.app, "/api/v3/klines", QUERY)
        if status != HTTPStatus.OK:
            raise RuntimeError(f"{case}: status {status}")
        print(trace.line(case))
        for module in trace.strayed():
            strayed += 1
            print(f"  one process came to {module}")
    await daemon.aclose()
    return strayed


def main() -> None:
    """Trace all cases."""
    with sim() as url:
        sys.exit(1 if asyncio.run(measure(url)) else 0)


if __name__ == "__main__":
    main()
