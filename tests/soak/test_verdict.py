"""The judge of a soak lets a good hour pass, and finds each thing that is wrong with a bad one."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench.soak.panels import draw
from bench.soak.record import Entry, Record, read_record
from bench.soak.results_page import BEGIN, END, write_page
from bench.soak.sampler import unseen
from bench.soak.truth import Claim, is_right
from bench.soak.verdict import judge
from mdcache.exchange.markets import Market

START = 1_800_000_000.0
MINUTES = 20
REPLICAS = ("replica 1", "replica 2", "replica 3")
LINE = {"level": "warning", "event": "gate_changed", "family": "spot", "state": "closed", "reason": "418"}


def entry(at_s: float, kind: str, **fields: object) -> Entry:
    return {"kind": kind, "at_s": START + at_s} | fields


def line(at_s: float, **fields: object) -> Entry:
    stamp = datetime.fromtimestamp(START + at_s, UTC).isoformat()
    return entry(at_s, "line", replica="replica 1", line={"timestamp": stamp, **LINE, **fields})


def good() -> list[Entry]:
    """Return the entries of a run with one ban, at 300 s, which one request met."""
    allowed = {"spot": 3_000, "futures": 1_200}
    found = [entry(0, "start", minutes=MINUTES, seed=1, series=74, allowed=allowed, replicas=REPLICAS)]
    fault = {"name": "ban", "victim": "replica 1", "began_s": START + 300, "ended_s": START + 310}
    for at in range(0, MINUTES * 60, 5):
        banned = 300 <= at < 311
        for n, name in enumerate(REPLICAS):
            own = {"rss_mb": 100.0 + at % 7, "fds": 40, "tasks": 20 + at % 3, "threads": 12, "listeners": 2.0}
            clock = {"offsets_s": [0.01], "errors_s": [0.02]}
            found.append(entry(at, "sample", replica=name, pid=7 + n + (n and at > 600), **own, **clock))
        found.append(entry(at, "ready", troubles=["spot: gate closed" if banned else "", "", ""]))
        heard = {"frames": 90, "finals": 8, "event closed": 2}
        told = {"statuses": {"200": 80}, "fresh": 80, "marked": 0, "fresh_age_s": 4.0, "marked_age_s": 0.0}
        found.append(entry(at, "answers", checked=3, same=2, heard=heard, connected=5, **told))
        requests = [[1000 * (START + at), "spot", 418 if at == 300 else 200, 50]]
        found += [] if 300 < at < 311 else [entry(at, "requests", requests=requests)]
    found.append(entry(312, "fault", **fault))
    found.append(line(301))
    found.append(entry(302, "refusal", sent_s=START + 301, status=503, target="/api", text="banned"))
    return sorted([*found, entry(MINUTES * 60, "end")], key=lambda each: each["at_s"])


def broken(entries: list[Entry]) -> dict[str, list[str]]:
    return {each.name: each.against for each in judge(Record(entries)) if each.against}


def test_a_good_run_has_nothing_against_it() -> None:
    assert broken(good()) == {}


def grown(entries: list[Entry], what: str, each_s: float) -> None:
    for each in entries:
        if each["kind"] == "sample":
            each[what] += each_s * (each["at_s"] - START)


def leaking(what: str, each_s: float) -> Callable[[list[Entry]], None]:
    return lambda entries: grown(entries, what, each_s)


def added(*more: Entry) -> Callable[[list[Entry]], None]:
    return lambda entries: entries.extend(more)


def without(kind: str) -> Callable[[list[Entry]], None]:
    def leave_out(entries: list[Entry]) -> None:
        entries[:] = [each for each in entries if each["kind"] != kind]

    return leave_out


def unready(entries: list[Entry]) -> None:
    """The gate stays closed for more than half a minute after the ban."""
    for each in entries:
        if each["kind"] == "ready" and each["at_s"] > START + 300:
            each["troubles"][1] = "spot: a limit is spent: answers may be older"
        if each["kind"] == "ready" and 300 <= each["at_s"] - START < 350:
            each["troubles"][0] = "spot: gate closed"


def deaf(entries: list[Entry]) -> None:
    for each in entries:
        if each["kind"] == "answers":
            each["heard"] = {}


def requested(at_s: float, status: int, weight: int) -> Entry:
    return entry(at_s, "requests", requests=[[1000 * (START + at_s), "spot", status, weight]])


AGE = {"what": "age", "text": "", "made_s": START + 100}
BAD = {
    "no wrong byte": (
        added(entry(50, "wrong", what="bytes", text="a row")),
        lambda entries: [each.update(checked=0) for each in entries if each["kind"] == "answers"],
    ),
    "nothing too old unless marked": (added(entry(100, "wrong", over_ms=500, **AGE)),),
    "frames in order, each close told once": (
        added(entry(50, "wrong", what="order", text="older")),
        added(entry(50, "wrong", what="events", text="twice")),
        deaf,
    ),
    "0 requests into a ban": (
        added(requested(305, 418, 0)),
        added(requested(305, 200, 0)),  # also one that is answered
        added(requested(900, 418, 0)),  # a ban that no fault made
        added(requested(900, 429, 0)),
    ),
    "weight within the share in every UTC minute": (added(requested(905, 200, 2_500)),),
    "no growth": (
        leaking("rss_mb", 0.04),
        leaking("fds", 0.05),
        leaking("tasks", 0.05),
        leaking("threads", 0.01),
        lambda entries: grown(entries, "pid", 1),  # nobody lives through it
    ),
    "no unexplained line": (
        added(line(800)),  # a gate that is closed while nobody bans
        added(line(305, event="background_task_failed", task="relay")),
    ),
    "ready again within 30 s, no gate closed, nothing down": (unready, without("ready")),
    "every question answered between faults": (
        lambda entries: (
            entries.append(entry(903, "refusal", sent_s=START + 902, status=503, target="/api", text="why")),
            entries.append(entry(1001, "fault", name="503", victim="", began_s=START + 1000, ended_s=START + 1001)),
        ),
    ),
    "ran to its end": (without("end"),),
}  # fmt: skip


@pytest.mark.parametrize(("name", "number"), [(name, n) for name, ways in BAD.items() for n in range(len(ways))])
def test_each_thing_that_is_wrong_is_found(name: str, number: int) -> None:
    entries = good()
    BAD[name][number](entries)
    entries.sort(key=lambda each: each["at_s"])
    assert set(broken(entries)) == {name}


def test_an_age_that_the_known_error_of_the_clock_explains_is_forgiven() -> None:
    entries = [*good(), entry(100, "wrong", over_ms=25, **AGE)]
    assert broken(entries) == {}


def test_a_recovery_that_the_next_fault_overtakes_counts_as_its_part() -> None:
    entries = good()
    unready(entries)
    after = {"name": "SIGKILL", "victim": "replica 2", "began_s": START + 330, "ended_s": START + 333}
    entries.append(entry(333, "fault", **after))
    assert broken(entries) == {}


def test_an_outage_is_not_hidden_by_faults_that_come_meanwhile() -> None:
    entries = good()
    for each in entries:
        if each["kind"] == "ready" and 300 <= each["at_s"] - START < 420:
            each["troubles"][0] = "spot: gate closed"
    for n in range(1, 5):
        began_s = START + 300 + 30 * n
        entries.append(entry(303 + 30 * n, "fault", name="SIGKILL", victim="", began_s=began_s, ended_s=began_s + 3))
    found = broken(entries)
    assert list(found) == ["ready again within 30 s, no gate closed, nothing down"]
    assert len(next(iter(found.values()))) == 1


def test_a_run_can_be_read_drawn_and_told_from_its_file(tmp_path: Path) -> None:
    file, page = tmp_path / "run.jsonl", tmp_path / "page.md"
    written = Record([], file)
    for each in good():
        written.add(**each)
    written.close()
    record = read_record(file)
    assert record.entries == json.loads(json.dumps(good()))

    draw(record, tmp_path / "soak.svg")
    assert (tmp_path / "soak.svg").read_text().count("<path") > 50
    page.write_text(f"before\n{BEGIN}from before\n{END}after\n")
    write_page(record, judge(record), page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "from before" not in text
    assert "| 0 requests into a ban | yes | 238 requests reached the exchange; bans: 1; 1 met a 418" in text


def test_only_the_open_candle_may_have_moved() -> None:
    first, second = [0, "1", 59_999], [60_000, "2", 119_999]
    rows, moved = ([[each[0], each[1], "", "", "", "", each[2]] for each in (first, last)]
                   for last in (second, [60_000, "3", 119_999]))  # fmt: skip
    query, as_of = "limit=2", 90_000
    assert is_right(Claim(Market.SPOT, query, as_of, rows), rows)
    assert is_right(Claim(Market.SPOT, query, as_of, moved), rows)
    assert not is_right(Claim(Market.SPOT, query, as_of, moved, exact=True), rows)
    assert not is_right(Claim(Market.SPOT, query, 130_000, moved), rows)
    assert not is_right(Claim(Market.SPOT, query, as_of, rows[1:]), rows)


def test_requests_that_are_known_are_not_counted_again() -> None:
    log = [{"at_ms": number // 2} for number in range(50)]  # equal ones, too
    assert unseen(log, []) == log
    assert unseen(log, log[20:30]) == log[30:]
    assert unseen(log[25:], log[20:30]) == log[30:]
    assert unseen(log, log[-10:]) == []
    assert unseen(log, [{"at_ms": 900}]) == log  # another exchange
