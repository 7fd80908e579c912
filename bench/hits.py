"""Hits for each second of CPU: the daemon, a bare uvloop protocol that writes the same bytes, and nginx, in turn.

    python -m bench.hits

Each round asks every server for a second over 32 connections, which fills its core: what it serves for each second of
its CPU is what it serves each second, if nothing else runs there. The ratios are medians over the rounds.
"""

import contextlib
import http.client
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from bench.processes import Process, Served, bare, cpu_s, daemon, nginx, sim
from bench.rows import Aim, Row, median, median_ratio
from tests.support.programs import find

ROUNDS = 9
WRK_S = 1
CONNECTIONS = 32
SERVER_CORE, LOAD_CORE = 0, 1
OPEN = "/api/v3/klines?symbol=BTCUSDT&interval=1d&limit=2"
KLINES = "/api/v3/klines?symbol=BTCUSDT&interval=1d&endTime=1700000000000&limit="
TTL = {"open_candle_ttl_s": "3600", "log_level": "error"}


def wrk(process: Process, url: str, *headers: str) -> float:
    """Requests over kept connections for each second of CPU of the process that answers."""
    sent = [part for header in headers for part in ("-H", header)]
    options = ["-t1", f"-c{CONNECTIONS}", f"-d{WRK_S}s", *sent, url]
    command = [find("taskset"), "-c", str(LOAD_CORE), find("wrk"), *options]
    before = cpu_s(process)
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    spent = cpu_s(process) - before
    found = re.search(r"(\d+) requests in", printed)
    if found is None or "Non-2xx" in printed or "Socket errors" in printed:
        sys.exit(f"errors under load:\n{printed}")
    return int(found[1]) / spent


def get(url: str, path: str, **headers: str) -> tuple[bytes, bytes, dict[str, str]]:
    """The response as it came: head and body; and its fields."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30.0)
    connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    reply = connection.getresponse()
    body = reply.read()
    head = b"HTTP/1.1 %d %b\r\n" % (reply.status, reply.reason.encode())
    head += b"".join(f"{name}: {value}\r\n".encode() for name, value in reply.getheaders())
    connection.close()
    return head + b"\r\n", body, {name.lower(): value for name, value in reply.getheaders()}


def known(url: str, path: str, **headers: str) -> tuple[bytes, bytes, dict[str, str]]:
    """The same once it is a hit."""
    for _ in range(3):
        get(url, path, **headers)
    head, body, fields = get(url, path, **headers)
    if "hit" not in fields.get("cache-status", "hit"):
        sys.exit(f"no hit: {fields}")
    return head, body, fields


@contextlib.contextmanager
def bare_like(url: str, path: str, folder: Path) -> Iterator[Served]:
    """A bare server of the bytes that the server at `url` sends."""
    head, body, _ = known(url, path)
    file = folder / f"{len(body)}"
    file.write_bytes(head + body)
    with bare(file, core=SERVER_CORE) as found:
        yield found


def rows(upstream: str) -> list[Row]:
    """Measure all rows about hits."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ours, ours_process = stack.enter_context(daemon(upstream, core=SERVER_CORE, **TTL))
        zipped, zipped_process = stack.enter_context(daemon(upstream, core=SERVER_CORE, compress="on", **TTL))
        theirs, theirs_process = stack.enter_context(nginx(upstream, core=SERVER_CORE))
        few, many = (f"{KLINES}{limit}" for limit in (2, 500))
        bare_few, bare_many = (stack.enter_context(bare_like(ours, path, folder)) for path in (few, many))
        tag = known(zipped, few)[2]["etag"]
        if known(theirs, many)[1] != known(ours, many)[1]:
            sys.exit("the servers answer differently")
        known(ours, OPEN)
        known(zipped, few, Accept_Encoding="gzip")
        known(zipped, few, If_None_Match=tag)
        asked: dict[str, tuple[Process, str, *tuple[str, ...]]] = {
            "ours, 2": (ours_process, ours + few),
            "bare, 2": (bare_few[1], bare_few[0] + few),
            "nginx, 2": (theirs_process, theirs + few),
            "open, 2": (ours_process, ours + OPEN),
            "gzip, 2": (zipped_process, zipped + few, "Accept-Encoding: gzip"),
            "identity, 2": (zipped_process, zipped + few),
            "304, 2": (zipped_process, zipped + few, f"If-None-Match: {tag}"),
            "ours, 500": (ours_process, ours + many),
            "bare, 500": (bare_many[1], bare_many[0] + many),
            "nginx, 500": (theirs_process, theirs + many),
        }
        seen: dict[str, list[float]] = {name: [] for name in asked}
        for number in range(ROUNDS + 1):
            for name, request in asked.items():
                rate = wrk(*request)
                if number:  # the first warms up
                    seen[name].append(rate)

    def row(what: str, mine: str, other: str, aim: float | None) -> Row:
        pairs = list(zip(seen[mine], seen[other], strict=True))
        said = f"{median(seen[mine]):,.0f}/s against {median(seen[other]):,.0f}/s"
        return Row(what, median_ratio(pairs), None if aim is None else Aim(aim), said)

    return [
        row("hits of 2 candles, against bare uvloop + httptools", "ours, 2", "bare, 2", 0.85),
        row("the same with the open candle among them", "open, 2", "bare, 2", None),
        row("hits of 2 candles, against nginx", "ours, 2", "nginx, 2", None),
        row("hits of 500 candles, against nginx", "ours, 500", "nginx, 500", 1.2),
        row("hits of 500 candles, against bare", "ours, 500", "bare, 500", 0.95),
        row("hits of 2 candles with gzip asked for, against identity", "gzip, 2", "identity, 2", 0.9),
        row("304 for 2 candles, against their hits", "304, 2", "identity, 2", 1.0),
    ]


def main() -> None:
    with sim(core=LOAD_CORE) as upstream:
        for row in rows(upstream):
            print(row.line(), flush=True)


if __name__ == "__main__":
    main()
