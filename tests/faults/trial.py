"""One row tried: a fault comes, lasts and ends while clients ask; then nobody asks; what was promised is judged."""

import json
import time
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import zip_longest

import httpx

from tests.faults.bench import DEADLINE_S, FaultBench
from tests.faults.load import TAILS, Clients, Told, ask
from tests.faults.row import Row

TTL_MS, MAX_STALE_MS = 2_000, 30_000  # the daemon's defaults for candles of a minute
RECOVERY_S = 30.0
SLACK_S = 1.5  # of a busy machine
CLOCK_MS = 300  # by so much the daemon's clock may be off there
READ_MS = (0, 50)  # so long after its as-of a reply may have been made
SENT_S = 0.3  # so long what was sent before a closure may be on its way
GROWTH_MB, MORE_DESCRIPTORS = 40.0, 24
_TRIED = {502, 503, 504}
_LATE_MS = 50  # so long before its as-of an answer's candle may still have moved


class Promise(StrEnum):
    """The columns."""

    BYTES = "no wrong byte"
    AGE = "nothing too old unless marked"
    TIME = "answered in time"
    GATE = "nothing asked into a closed gate"
    RECOVERY = "ready again within 30 s, unasked"
    BOUNDS = "memory and descriptors"


@dataclass(slots=True)
class Outcome:
    """What came of a row: how each promise was broken, and figures."""

    row: Row
    broken: dict[Promise, list[str]] = field(default_factory=lambda: {each: [] for each in Promise})
    fresh: int = 0
    marked: int = 0
    refused: int = 0
    asked: int = 0
    recovery_s: float = 0.0
    growth_mb: float = 0.0


class Trial:
    """Of one row on one bench."""

    def __init__(self, bench: FaultBench, row: Row) -> None:
        self._bench = bench
        self._row = row
        self._outcome = Outcome(row)

    def run(self, during_s: float) -> Outcome:
        """Try it; `during_s`: how long it lasts."""
        bench, outcome, daemon = self._bench, self._outcome, self._bench.daemon
        bench.forgive()
        bench.wire.asked.clear()
        lines, lookups = len(daemon.lines()), len(bench.levers.lookups())
        clients = Clients(bench, during_s)
        clients.start()
        clients.wait_until_answered()
        memory_mb, descriptors = daemon.resident_mb(), daemon.descriptors()
        began_s, since_s = time.time(), bench.exchange_s()
        with self._row.fault(bench):
            time.sleep(during_s)
            most = daemon.descriptors()
            if not self._row.late:
                clients.stop()
        ended_s = time.time()
        clients.stop()
        self._recover(ended_s)
        told = clients.told
        for each in told:
            self._judge(each, during_s if self._row.late else 0.0)
        during = [each for each in told if each.sent_s >= since_s]
        outcome.fresh = sum(each.status == 200 and not each.marked for each in during)
        outcome.marked = sum(each.marked for each in during)
        outcome.refused = sum(each.status != 200 for each in during)
        outcome.asked = sum(each.at_s >= began_s for each in bench.wire.asked)
        self._judge_gate(daemon.lines()[lines:], bench.levers.lookups()[lookups:])
        outcome.growth_mb = daemon.resident_mb() - memory_mb
        if outcome.growth_mb > GROWTH_MB:
            self._breach(Promise.BOUNDS, f"{outcome.growth_mb:.0f} MB more")
        for many in (most, daemon.descriptors()):
            if many > descriptors + MORE_DESCRIPTORS:
                self._breach(Promise.BOUNDS, f"{many} descriptors after {descriptors}")
        if self._row.unnoticed and (outcome.marked or outcome.refused):
            texts = {each.text[:200] for each in during if each.status != 200}
            self._breach(Promise.TIME, f"{outcome.marked} marked, {outcome.refused} refused: {texts}")
        return outcome

    def _breach(self, promise: Promise, text: str) -> None:
        self._outcome.broken[promise].append(text)

    # ------------------------------------------------------------------------------------- judges

    def _judge(self, told: Told, late_s: float = 0.0) -> None:
        target = f"{told.path}?{told.query}"
        if told.status == 0 and not self._row.down:
            self._breach(Promise.TIME, f"no answer: {told.text!r} to {target}")
        if told.took_s > DEADLINE_S + SLACK_S + late_s:
            self._breach(Promise.TIME, f"{told.took_s:.1f} s for {target}")
        if told.status not in {0, 200, *_TRIED}:
            self._breach(Promise.BYTES, f"{told.status} for {target}: {told.text[:200]!r}")
        if told.status != 200:
            return
        if not self._is_right(told):
            self._breach(Promise.BYTES, f"{target} as of {told.as_of_ms}: {told.text[:300]!r}")
        sent_ms = int((told.sent_s + max(0.0, told.took_s - DEADLINE_S - SLACK_S)) * 1000)  # or later it was made
        allowed_ms = (MAX_STALE_MS if told.marked else TTL_MS if told.of_tail else 1000 * late_s) + CLOCK_MS
        if sent_ms - told.as_of_ms > allowed_ms:
            self._breach(Promise.AGE, f"{sent_ms - told.as_of_ms} ms, {told.marked=}, for {target}")
        if told.of_tail and told.newest_close_ms() < sent_ms - CLOCK_MS:
            self._breach(Promise.AGE, f"past the close of its open candle: {target}")

    def _is_right(self, told: Told) -> bool:
        """Byte for byte, but for a candle that was open: it moves while it is read."""
        for off_ms in READ_MS:
            truth = self._bench.exchange.truth(told.path, told.query, told.as_of_ms + off_ms)
            if told.text == truth:
                return True
            rows, true_rows = (
                [row for row in json.loads(text) if row[6] < told.as_of_ms - _LATE_MS] for text in (told.text, truth)
            )
            opens, true_opens = ([row[0] for row in json.loads(text)] for text in (told.text, truth))
            if rows == true_rows and opens == true_opens:
                return True
        return False

    def _judge_gate(self, lines: list[dict[str, object]], lookups: list[tuple[float, str]]) -> None:
        asked = [(each.at_s, each.family) for each in self._bench.wire.asked]
        asked += [(at_s, "spot" if name.startswith("spot") else "futures") for at_s, name in lookups]
        moves = [line for line in lines if line["event"] in {"gate_changed", "gate_extended"}]
        for family in ("spot", "futures"):
            mine = [line for line in moves if line["family"] == family]
            for line, after in zip_longest(mine, mine[1:]):
                if line["state"] != "closed":
                    continue
                shut_s = _moment_s(line)
                until_s = shut_s + float(str(line["reopens_in_s"]))
                if shut_s < self._bench.woke_s:  # the wait passed in its sleep
                    until_s = min(until_s, self._bench.woke_s)
                until_s = until_s if after is None else min(until_s, _moment_s(after))
                into = [at_s for at_s, of in asked if of == family and shut_s + SENT_S < at_s < until_s - SENT_S]
                if into:
                    self._breach(Promise.GATE, f"{len(into)} within {until_s - shut_s:.1f} s ({line['reason']})")
            refusals = [each.at_s for each in self._bench.wire.asked if each.broken and each.family == family]
            for at_s in refusals if self._row.stated_s else ():
                if any(at_s + SENT_S < later < at_s + self._row.stated_s for later, of in asked if of == family):
                    self._breach(Promise.GATE, f"{family} was asked within the stated {self._row.stated_s:g} s")

    def _recover(self, ended_s: float) -> None:
        """Only whether it is ready is asked; then, whether all is well again."""
        bench = self._bench
        broken = [each.at_s + self._row.stated_s for each in bench.wire.asked if each.broken and self._row.stated_s]
        if self._row.until_minute:
            broken.append(ended_s // 60 * 60 + 62.0)
        by_s = max([ended_s, *broken]) + RECOVERY_S
        while (trouble := self._trouble()) and time.time() < by_s:
            time.sleep(0.2)
        self._outcome.recovery_s = time.time() - ended_s
        if trouble:
            self._breach(Promise.RECOVERY, trouble)
            bench.forgive()
        time.sleep(1.2)  # docs/design.md#shared-errors
        with closing(httpx.Client(base_url=bench.daemon.url, timeout=20.0, trust_env=False)) as client:
            for path, query in TAILS:
                told = ask(bench, client, path, query)
                self._judge(told)
                if told.status != 200 or told.marked:
                    self._breach(Promise.RECOVERY, f"{told.status}, {told.marked=}: {told.text[:200]!r}")

    def _trouble(self) -> str:
        """Return what keeps it from being ready with every gate open; empty if nothing does."""
        try:
            ready = self._bench.daemon.get("/readyz")
        except httpx.TransportError as error:
            return repr(error)
        if ready.status_code != 200 or any("gate" in text for text in ready.json()["degraded"]):
            return ready.text
        return ""


def _moment_s(line: dict[str, object]) -> float:
    """Return when it was logged, by the machine's clock, also if the daemon's was whole hours off."""
    stated_s = datetime.fromisoformat(str(line["timestamp"])).timestamp()
    return stated_s - round((stated_s - time.time()) / 3_600.0) * 3_600.0
