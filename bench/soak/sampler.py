"""Every few seconds: what each replica uses, says of itself and has logged, and what reached the exchange."""

import asyncio
import json
import re
import time
from contextlib import suppress
from typing import Any

import httpx

from bench.soak.askers import Askers, Tally
from bench.soak.hearers import Heard
from bench.soak.parts import Parts, Replica
from bench.soak.record import Record
from bench.soak.truth import Checker

EVERY_S = 5.0
READY_EVERY_S = 1.0
_METRICS = {
    "listeners": re.compile(r"^mdcache_listeners\{.*\} (.+)$", re.MULTILINE),
    "topics": re.compile(r"^mdcache_stream_topics\{.*\} (.+)$", re.MULTILINE),
    "rows": re.compile(r"^mdcache_rows (.+)$", re.MULTILINE),
    "held_mb": re.compile(r"^mdcache_rows_bytes (.+)$", re.MULTILINE),
    "offsets_s": re.compile(r"^mdcache_clock_offset_seconds\{.*\} (.+)$", re.MULTILINE),
    "errors_s": re.compile(r"^mdcache_clock_error_seconds\{.*\} (.+)$", re.MULTILINE),
    "failures": re.compile(r"^mdcache_failures_total\{.*\} (.+)$", re.MULTILINE),
}
_LOG_ENTRIES = 2_000
_OVERLAP = 20
_DAEMONS = "127.0.0.1"  # all of them; the symbols are asked for from another address


class Sampler:
    """Writes the record, but for what consumers add to it themselves."""

    def __init__(self, parts: Parts, record: Record, askers: Askers, heard: Heard, checker: Checker) -> None:
        self._parts = parts
        self._record = record
        self._askers = askers
        self._heard = heard
        self._checker = checker
        self._client = httpx.AsyncClient(timeout=4.0, trust_env=False)
        self._read: dict[str, int] = {}  # bytes of each replica's log
        self._tail: list[dict[str, Any]] = []  # the newest requests to the exchange that are known

    async def run(self) -> None:
        """Sample until cancelled."""
        due_s = time.monotonic()
        while True:
            await self.sample()
            due_s += EVERY_S
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))

    async def sample(self) -> None:
        await asyncio.gather(*(self._replica(each) for each in self._parts.replicas))
        await self.count_requests()
        self._consumers()

    async def watch_readiness(self) -> None:
        """Ask each replica whether it is ready, until cancelled."""
        while True:
            began_s = time.monotonic()
            said = await asyncio.gather(*(self._trouble(each) for each in self._parts.replicas))
            self._record.add("ready", troubles=said)
            await asyncio.sleep(max(0.0, began_s + READY_EVERY_S - time.monotonic()))

    async def _trouble(self, replica: Replica) -> str:
        """Return what keeps it from being ready with nothing degraded; empty if nothing does."""
        try:
            reply = await self._client.get(f"{replica.url}/readyz")
        except httpx.TransportError as error:
            return f"no answer: {type(error).__name__}"
        body = reply.json()
        return "; ".join([*body.get("reasons", []), *body.get("degraded", [])])

    async def _replica(self, replica: Replica) -> None:
        self._lines(replica)
        found = replica.figures()
        with suppress(httpx.TransportError):
            text = (await self._client.get(f"{replica.url}/metrics")).text
            for name, pattern in _METRICS.items():
                values = [float(value) for value in pattern.findall(text)]
                found[name] = [round(value, 3) for value in values] if name.endswith("_s") else sum(values)
        self._record.add("sample", replica=replica.name, **found)

    def _lines(self, replica: Replica) -> None:
        """Add what it has logged since, if it is more than information."""
        with replica.log.open("rb") as file:
            file.seek(self._read.get(replica.name, 0))
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read[replica.name] = self._read.get(replica.name, 0) + len(whole)
        for line in whole.splitlines():
            try:
                fields: dict[str, Any] = json.loads(line)
            except ValueError:  # a trace that Python itself printed
                fields = {"level": "error", "event": "no JSON", "text": line.decode(errors="replace")[:300]}
            if fields["level"] not in {"debug", "info"}:
                self._record.add("line", replica=replica.name, line=fields)

    async def count_requests(self) -> None:
        """Add the requests that reached the exchange since."""
        with suppress(httpx.TransportError):
            reply = await self._client.get(f"{self._parts.exchange.url}/_sim/log?limit={_LOG_ENTRIES}")
            self._take(reply.json())

    def _take(self, log: list[dict[str, Any]]) -> None:
        new = [each for each in unseen(log, self._tail) if each["client"] == _DAEMONS]
        self._tail = log[-_OVERLAP:] or self._tail
        if new:
            told = [[each["at_ms"], each["family"], each["status"], each["weight"]] for each in new]
            self._record.add("requests", requests=told)

    def _consumers(self) -> None:
        tally, self._askers.tally = self._askers.tally, Tally()
        took = sorted(tally.took_s)
        self._record.add(
            "answers",
            statuses={str(status): count for status, count in tally.statuses.items()},
            fresh=tally.fresh,
            marked=tally.marked,
            fresh_age_s=round(tally.fresh_age_s, 2),
            marked_age_s=round(tally.marked_age_s, 2),
            p50_s=round(took[len(took) // 2], 4) if took else None,
            worst_s=round(took[-1], 3) if took else None,
            late_s=round(tally.late_s, 2),
            checked=self._checker.checked,
            same=self._checker.same,
            connected=self._heard.connected,
            heard=self._heard.take(),
        )
        self._checker.checked = self._checker.same = 0


def unseen(log: list[dict[str, Any]], tail: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what stands in `log` behind `tail`; all of it, if that is not there: the exchange was started anew."""
    for end in range(len(log), 0, -1):
        if tail and log[max(0, end - len(tail)) : end] == tail[-end:]:
            return log[end:]
    return log
