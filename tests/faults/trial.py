"""One case tried: a fault comes, lasts and ends while clients ask; then nobody asks; what was promised is judged."""

import json
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import zip_longest

import httpx

from tests.faults.bench import DEADLINE_S, SHARE, FaultBench
from tests.faults.case import Case
from tests.faults.listening import Listener, wrongs
from tests.faults.load import TAILS, Clients, Told, ask, connected
from tests.support.waiting import eventually

TTL_MS, MAX_STALE_MS = 2_000, 30_000  # the daemon's defaults for candles of a minute
FRAME_MS = 2_600  # so long a frame of spot is fresh: docs/design.md#stream-fed
RECOVERY_S = 30.0
SLACK_S = 1.5  # of a busy machine
CLOCK_MS = 300  # by so much the daemon's clock may be off there
READ_MS, TRIP_MS = (0, 50), 1_000  # so long after its as-of a reply may have been made, and at most
SENT_S = 0.3  # so long what was sent before a closure may be on its way
GROWTH_MB, MORE_DESCRIPTORS = 40.0, 24
_TRIED = {502, 503, 504}
_MINUTE_WEIGHTS = {"spot": 6_000, "futures": 2_400}
_AGAIN = ("gate", "redis: ", "disk: ")  # what must not be said of a daemon for which all is well again
_LATE_MS = 50  # so long before its as-of an answer's candle may still have moved


class Promise(StrEnum):
    """The columns."""

    BYTES = "no wrong byte"
    AGE = "nothing too old unless marked"
    TIME = "answered in time"
    GATE = "nothing asked into a closed gate"
    RECOVERY = "ready again within 30 s, unasked"
    BOUNDS = "memory and descriptors"
    SHARE = "the share kept by both together"
    FRAMES = "a listener gets the exchange's frames, in order, none twice"


@dataclass(slots=True)
class Outcome:
    """What came of a case: how each of its promises was broken, and figures."""

    case: Case
    promises: frozenset[Promise]
    broken: dict[Promise, list[str]] = field(default_factory=lambda: {each: [] for each in Promise})
    fresh: int = 0
    marked: int = 0
    refused: int = 0
    asked: int = 0
    recovery_s: float = 0.0


class Trial:
    """Of one case on one bench."""

    def __init__(self, bench: FaultBench, case: Case) -> None:
        self._bench = bench
        self._case = case
        self._right: dict[tuple[str, str, int, bytes], bool] = {}
        more = {Promise.SHARE: bool(bench.others), Promise.FRAMES: bench.streams is not None}
        self._outcome = Outcome(case, frozenset(each for each in Promise if more.get(each, True)))

    def run(self, during_s: float) -> Outcome:
        """Try it; `during_s`: how long it lasts."""
        bench, outcome, daemons = self._bench, self._outcome, [each.daemon for each in self._bench.all]
        for each in bench.all:
            each.forget()
        minute = int(bench.exchange_s()) // 60
        logged = [(len(each.daemon.lines()), len(each.levers.lookups())) for each in bench.all]
        clients, listener = Clients(bench, during_s), None if bench.streams is None else Listener(bench)
        clients.start()
        if listener is not None:
            listener.start()
        clients.wait_until_answered()
        before = [(daemon.resident_mb(), daemon.descriptors()) for daemon in daemons]
        began_s, since_s = time.time(), bench.exchange_s()
        with self._case.fault(bench):
            time.sleep(during_s)
            most = [daemon.descriptors() for daemon in daemons]
            if not self._case.late:
                clients.stop()
        ended_s = time.time()
        clients.stop()
        self._recover(ended_s)
        for told in clients.told + clients.flooded:
            self._judge(told, during_s if self._case.late else 0.0)
        during = [told for told in clients.told if told.sent_s >= since_s]
        outcome.fresh = sum(told.status == 200 and not told.marked for told in during)
        outcome.marked = sum(told.marked for told in during)
        outcome.refused = sum(told.status != 200 for told in during)
        outcome.asked = sum(asked.at_s >= began_s for each in bench.all for asked in each.asked())
        for each, (lines, lookups) in zip(bench.all, logged, strict=True):
            self._judge_gate(each, each.daemon.lines()[lines:], each.levers.lookups()[lookups:])
        for daemon, (memory_mb, descriptors), many in zip(daemons, before, most, strict=True):
            self._judge_bounds(daemon.resident_mb() - memory_mb, max(many, daemon.descriptors()) - descriptors)
        if bench.others:
            self._judge_share(minute)
        if listener is not None:
            self._judge_frames(listener, ended_s)
        if self._case.unnoticed and (outcome.marked or outcome.refused):
            texts = {told.text[:200] for told in during if told.status != 200}
            self._breach(Promise.TIME, f"{outcome.marked} marked, {outcome.refused} refused: {texts}")
        return outcome

    def _breach(self, promise: Promise, text: str) -> None:
        self._outcome.broken[promise].append(text)

    # ------------------------------------------------------------------------------------- judges

    def _judge(self, told: Told, late_s: float = 0.0) -> None:
        target = f"{told.path}?{told.query}"
        if told.status == 0 and not self._case.down:
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
        fresh_ms = TTL_MS if self._bench.streams is None else FRAME_MS
        allowed_ms = (MAX_STALE_MS if told.marked else fresh_ms if told.of_tail else 1000 * late_s) + CLOCK_MS
        if sent_ms - told.as_of_ms > allowed_ms:
            self._breach(Promise.AGE, f"{sent_ms - told.as_of_ms} ms, {told.marked=}, for {target}")
        if told.of_tail and told.as_of_ms < told.newest_close_ms() < sent_ms - CLOCK_MS:
            self._breach(Promise.AGE, f"past the close of its open candle: {target}")

    def _is_right(self, told: Told) -> bool:
        """Byte for byte, but for a candle that was open: it moves while it is read. The same is judged once."""
        key = told.path, told.query, told.as_of_ms if told.of_tail else 0, told.text
        if key not in self._right:
            self._right[key] = self._is_true(told)
        return self._right[key]

    def _is_true(self, told: Told) -> bool:
        closes_ms = 60_000 - told.as_of_ms % 60_000  # a reply that was on its way then shows what opened
        for off_ms in (*READ_MS, *((closes_ms,) if closes_ms < TRIP_MS else ())):
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

    def _judge_bounds(self, growth_mb: float, more: int) -> None:
        if growth_mb > GROWTH_MB:
            self._breach(Promise.BOUNDS, f"{growth_mb:.0f} MB more")
        if more > MORE_DESCRIPTORS:
            self._breach(Promise.BOUNDS, f"{more} descriptors more")

    def _judge_share(self, first_minute: int) -> None:
        """As the exchange counted what came from their address."""
        spent: Counter[tuple[str, int]] = Counter()
        for entry in self._bench.exchange.log():
            if entry["client"] == self._bench.wire.client:
                spent[entry["family"], entry["at_ms"] // 60_000] += entry["weight"]
        for (family, minute), weight in spent.items():
            if minute >= first_minute and weight > SHARE * _MINUTE_WEIGHTS[family]:
                self._breach(Promise.SHARE, f"{weight} of {family} in a minute")

    def _judge_frames(self, listener: Listener, ended_s: float) -> None:
        """What it was sent, and that frames come again."""
        with suppress(AssertionError):
            eventually(lambda: listener.last_s > ended_s + 1.0, max(1.0, ended_s + RECOVERY_S - time.time()))
        if listener.last_s <= ended_s + 1.0:
            self._breach(Promise.RECOVERY, "no frame came")
        listener.stop()
        for heard in listener.heard:
            for text in wrongs(self._bench, heard, lossy=self._case.lossy):
                self._breach(Promise.FRAMES, text)

    def _judge_gate(self, bench: FaultBench, lines: list[dict[str, object]], lookups: list[tuple[float, str]]) -> None:
        asked = [(each.at_s, each.family) for each in bench.asked()]
        asked += [(at_s, "spot" if name.startswith("spot") else "futures") for at_s, name in lookups]
        moves = [line for line in lines if line["event"] in {"gate_changed", "gate_extended"}]
        for family in ("spot", "futures"):
            mine = [line for line in moves if line["family"] == family]
            for line, after in zip_longest(mine, mine[1:]):
                if line["state"] != "closed":
                    continue
                shut_s = _moment_s(line)
                until_s = shut_s + float(str(line.get("reopens_in_s", 0.0)))
                if shut_s < bench.woke_s:  # the wait passed in its sleep
                    until_s = min(until_s, bench.woke_s)
                until_s = until_s if after is None else min(until_s, _moment_s(after))
                into = [at_s for at_s, of in asked if of == family and shut_s + SENT_S < at_s < until_s - SENT_S]
                if into:
                    self._breach(Promise.GATE, f"{len(into)} within {until_s - shut_s:.1f} s ({line['reason']})")
            refusals = [each.at_s for each in bench.asked() if each.broken and each.family == family]
            for at_s in refusals if self._case.stated_s else ():
                if any(at_s + SENT_S < later < at_s + self._case.stated_s for later, of in asked if of == family):
                    self._breach(Promise.GATE, f"{family} was asked within the stated {self._case.stated_s:g} s")

    def _recover(self, ended_s: float) -> None:
        """Only whether it is ready is asked; then, whether all is well again."""
        bench = self._bench
        asked = [one for each in bench.all for one in each.asked()]
        broken = [one.at_s + self._case.stated_s for one in asked if one.broken and self._case.stated_s]
        if self._case.until_minute:
            broken.append(ended_s // 60 * 60 + 62.0)
        by_s = max([ended_s, *broken]) + RECOVERY_S
        while (trouble := self._trouble()) and time.time() < by_s:
            time.sleep(0.2)
        self._outcome.recovery_s = time.time() - ended_s
        if trouble:
            self._breach(Promise.RECOVERY, trouble)
            for each in bench.all:
                each.forgive()
        time.sleep(1.2)  # docs/design.md#shared-errors
        for each in bench.all:
            with connected(each, 20.0) as client:
                for path, query in TAILS[:1] if bench.others else TAILS:
                    told = ask(each, client, path, query)
                    self._judge(told)
                    if told.status != 200 or (told.marked and not bench.others):
                        self._breach(Promise.RECOVERY, f"{told.status}, {told.marked=}: {told.text[:200]!r}")

    def _trouble(self) -> str:
        """Return what keeps one from being ready with every gate open; empty if nothing does."""
        for each in self._bench.all:
            try:
                ready = each.daemon.get("/readyz")
            except httpx.TransportError as error:
                return repr(error)
            if ready.status_code != 200 or any(part in text for part in _AGAIN for text in ready.json()["degraded"]):
                return ready.text
        return ""


def _moment_s(line: dict[str, object]) -> float:
    """Return when it was logged, by the machine's clock, also if the daemon's was whole hours off."""
    stated_s = datetime.fromisoformat(str(line["timestamp"])).timestamp()
    return stated_s - round((stated_s - time.time()) / 3_600.0) * 3_600.0
