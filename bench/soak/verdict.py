"""What a soak has to show, from its record alone: each check has what speaks against it, and figures."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise, zip_longest
from statistics import linear_regression, median

from bench.soak.explained import EXPLAINED
from bench.soak.record import Entry, Record
from bench.soak.troubles import BAN_S, RETRY_AFTER_S, START

READY_S = 30.0  # after a fault's end
SENT_S = 0.5  # so long what was sent before a refusal may be on its way
MARGINS = {"rss_mb": 20.0, "fds": 25.0, "tasks": 25.0, "threads": 4.0}  # more at the end than at the tenth minute
NAMES = {"rss_mb": "memory (MB)", "fds": "descriptors", "tasks": "tasks", "threads": "threads"}
_FROM_S, _AROUND_S = 600.0, 60.0
_BAN, _TOO_MANY = 418, 429
_CALM_S = 2.0
_CLOCK_S = 10.0
_SPENT = "a limit is spent"
_STATED = {"ban": (_BAN, BAN_S), "429": (_TOO_MANY, float(RETRY_AFTER_S))}


@dataclass(slots=True)
class Check:
    """One thing that is promised: `said` in numbers, and what is `against` it."""

    name: str
    said: str
    against: list[str] = field(default_factory=list)


def judge(record: Record) -> list[Check]:
    """Return all checks."""
    judges: tuple[Callable[[Record], Check], ...] = (
        _judge_bytes,
        _judge_ages,
        _judge_listeners,
        _judge_bans,
        _judge_weight,
        _judge_growth,
        _judge_lines,
        _judge_readiness,
        _judge_calm,
        _judge_end,
    )
    return [each(record) for each in judges]


def _wrong(record: Record, *what: str) -> list[str]:
    return [f"{_moment(record, each)}: {each['text']}" for each in record.of("wrong") if each["what"] in what]


def _moment(record: Record, entry: Entry) -> str:
    """Return minutes and seconds since the start."""
    seconds = int(entry["at_s"] - start_s(record))
    return f"{seconds // 60}:{seconds % 60:02}"


def start_s(record: Record) -> float:
    """Return when it began."""
    found: float = next(record.of("start"))["at_s"]
    return found


def _judge_bytes(record: Record) -> Check:
    counts = Counter[str]()
    for each in record.of("answers"):
        counts["answered"] += each["statuses"].get("200", 0)
        counts["checked"] += each["checked"]
        counts["same"] += each["same"]
    said = (
        f"{counts['answered']:,} answers; {counts['checked']:,} of them, of final frames and of events compared "
        f"with the exchange's own, {counts['same']:,} of these with the open candle to the last digit"
    )
    check = Check("no wrong byte", said, _wrong(record, "bytes"))
    if not counts["checked"]:
        check.against.append("nothing was compared")
    return check


def _judge_ages(record: Record) -> Check:
    """Judge by the exchange's clock, of which each daemon knows how wrong it may be."""
    answers = list(record.of("answers"))
    fresh, marked = (max((each[name] for each in answers), default=0.0) for name in ("fresh_age_s", "marked_age_s"))
    many = sum(each["marked"] for each in answers)
    said = (
        f"at most {fresh:.1f} s old unmarked (a day's candle has a TTL of 20 s), {marked:.1f} s marked; {many:,} marked"
    )
    against, forgiven = [], 0
    for each in record.of("wrong"):
        if each["what"] == "age":
            if each["over_ms"] <= 1000 * _clock_s(record, each["made_s"]):
                forgiven += 1
            else:
                against.append(f"{_moment(record, each)}: {each['text']}")
    if forgiven:
        said += f"; {forgiven} by less than what the clocks were known to be wrong by then, in a slow exchange"
    return Check("nothing too old unless marked", said, against)


def _clock_s(record: Record, at_s: float) -> float:
    """Return by how much the exchange's clock could be wrong on a replica at about that moment."""
    near = [each for each in record.of("sample") if -_CLOCK_S <= each["at_s"] - at_s <= _CLOCK_S and "errors_s" in each]
    return max(
        (
            abs(offset) + error
            for each in near
            for offset, error in zip(each["offsets_s"], each["errors_s"], strict=True)
        ),
        default=0.0,
    )


def _judge_listeners(record: Record) -> Check:
    heard = Counter[str]()
    for each in record.of("answers"):
        heard.update(each["heard"])
    closed = heard["event closed"]
    said = (
        f"{heard['frames']:,} frames, {heard['finals']:,} of them final ({heard['lost finals']} more were lost in a "
        f"connection, as the exchange did not send them and no frame proved them); {closed:,} events of a close, over "
        f"{len(list(record.of('ended'))):,} connections that ended"
    )
    check = Check("frames in order, each close told once", said, _wrong(record, "order", "events"))
    if not (heard["finals"] and closed):
        check.against.append("nobody heard anything")
    return check


def _requests(record: Record) -> Iterator[tuple[float, str, int, int]]:
    """Yield when each request came (since 1970), its family, the status of its answer and its weight."""
    for entry in record.of("requests"):
        for at_ms, family, status, weight in entry["requests"]:
            yield at_ms / 1000, family, status, weight


def _judge_bans(record: Record) -> Check:
    """Nothing is asked within what a refusal states, and nothing is refused that no fault refuses."""
    against, bans = [], 0
    requests = list(_requests(record))
    faults = [each for each in record.of("fault") if each["name"] in _STATED]
    for fault in faults:
        status, wait_s = _STATED[fault["name"]]
        bans += fault["name"] == "ban"
        during = [each for each in requests if fault["began_s"] - 1 <= each[0] <= fault["ended_s"] + wait_s + 1]
        for family in ("spot", "futures"):
            mine = [each for each in during if each[1] == family]
            refused_s = [at_s for at_s, _, was, _ in mine if was == status]
            for at_s in refused_s[:1] if status == _BAN else refused_s:
                until_s = fault["began_s"] + wait_s if status == _BAN else at_s + wait_s
                into = [each for each in mine if at_s + SENT_S < each[0] < until_s]
                if into:
                    against.append(f"{len(into)} requests to {family} within {wait_s:g} s of {status}")
    for at_s, family, status, _ in requests:
        name = {_BAN: "ban", _TOO_MANY: "429"}.get(status)
        if name and not any(
            each["name"] == name and each["began_s"] - 1 <= at_s <= each["ended_s"] + 1 for each in faults
        ):
            against.append(f"{status} for {family}, which no fault explains")
    met = sum(status in {_BAN, _TOO_MANY} for _, _, status, _ in requests)
    said = f"{len(requests):,} requests reached the exchange; bans: {bans}; {met} met a 418 or 429, 0 came after one"
    return Check("0 requests into a ban", said if not against else said.rpartition(",")[0], against)


def _judge_weight(record: Record) -> Check:
    allowed: dict[str, int] = next(record.of("start"))["allowed"]
    most: dict[str, int] = {}
    against = []
    for family, minutes in weights(record).items():
        most[family] = max(minutes.values())
        against += [
            f"{weight} weight of {family} in minute {minute}, where {allowed[family]} are allowed"
            for minute, weight in minutes.items()
            if weight > allowed[family]
        ]
    said = ", ".join(f"{family} at most {weight:,} of {allowed[family]:,}" for family, weight in sorted(most.items()))
    return Check("weight within the share in every UTC minute", said, against)


def weights(record: Record) -> dict[str, dict[int, int]]:
    """Return what all replicas together used, by family and UTC minute."""
    found: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for at_s, family, _, weight in _requests(record):
        found[family][int(at_s // 60)] += weight
    return found


def lives(record: Record) -> dict[str, list[list[Entry]]]:
    """Return the samples of each replica, by its process: each start is a life of its own."""
    found: dict[str, list[list[Entry]]] = {name: [] for name in next(record.of("start"))["replicas"]}
    for sample in record.of("sample"):
        mine = found[sample["replica"]]
        if "pid" not in sample:
            continue
        if not mine or mine[-1][-1]["pid"] != sample["pid"]:
            mine.append([])
        mine[-1].append(sample)
    return found


def _judge_growth(record: Record) -> Check:
    """Judge those replicas that were never restarted: the end against the tenth minute, and the trend in between."""
    against, said = [], []
    began_s = start_s(record)
    for name, found in lives(record).items():
        if len(found) != 1:
            continue
        samples = found[0]
        end_s = samples[-1]["at_s"] - began_s
        from_s = min(_FROM_S, end_s / 3)
        for what, margin in MARGINS.items():
            points = [(each["at_s"] - began_s, each[what]) for each in samples if each.get(what)]
            early = [value for at_s, value in points if abs(at_s - from_s) <= _AROUND_S / 2]
            late = [value for at_s, value in points if at_s >= end_s - _AROUND_S]
            later = [(at_s, value) for at_s, value in points if at_s >= end_s / 3]
            if not early or not late or len(later) < 3:
                against.append(f"{name}: too few samples of {NAMES[what]}")
                continue
            slope = linear_regression(*zip(*later, strict=True)).slope
            was, now, trend = median(early), median(late), slope * (later[-1][0] - later[0][0])
            said.append(f"{NAMES[what]} {was:.0f} and {now:.0f}, trend {trend:+.0f}")
            if now > was + margin or trend > margin:
                against.append(f"{name}: {NAMES[what]} {was:g}, then {now:g}; trend {trend:+.1f}")
    if not said:
        against.append("no replica lived through it")
    return Check("no growth", f"never restarted, in the tenth minute and at the end: {'; '.join(said)}", against)


def _judge_lines(record: Record) -> Check:
    """Each warning and error belongs to a fault that explains it."""
    faults, against = list(record.of("fault")), Counter[str]()
    many = 0
    for entry in record.of("line"):
        many += 1
        line = entry["line"]
        at_s = _logged_s(entry)
        if not any(
            each["began_s"] - 1.0 <= at_s <= each["ended_s"] + kind.within_s
            for kind in EXPLAINED
            if kind.event == line["event"] and kind.matches(line)
            for each in faults
            if any(each["name"].startswith(name) for name in kind.faults)
        ):
            facts = {name: value for name, value in line.items() if name not in {"timestamp", "level", "event"}}
            before = max((each for each in faults if each["began_s"] <= at_s), key=lambda each: each["began_s"],
                         default=None)  # fmt: skip
            after = f"{at_s - before['ended_s']:+.0f} s after the end of {before['name']}" if before else "no fault yet"
            text = (
                f"{_moment(record, {'at_s': at_s})} {entry['replica']} {line['level']} {line['event']} {facts}: {after}"
            )
            against[text[:400]] += 1
    kinds = Counter(each["line"]["event"] for each in record.of("line"))
    told = ", ".join(f"{count} {event}" for event, count in kinds.most_common())
    return Check("no unexplained line", f"{many} warnings and errors, each of a fault: {told}", list(against))


def _logged_s(entry: Entry) -> float:
    stamp = entry["line"].get("timestamp")
    return entry["at_s"] if stamp is None else datetime.fromisoformat(str(stamp)).timestamp()


def recoveries(record: Record) -> Iterator[tuple[Entry, float | None, bool]]:
    """Yield each fault, the seconds after its end at which all was ready first, and whether the next came before."""
    faults = list(record.of("fault"))
    ready_s = [each["at_s"] for each in record.of("ready") if not any(map(lasting, each["troubles"]))]
    for fault, following in zip_longest(faults, faults[1:]):
        first = next((at_s for at_s in ready_s if at_s >= fault["ended_s"]), None)
        overtaken = following is not None and (first is None or first > following["began_s"])
        yield fault, None if first is None else first - fault["ended_s"], overtaken


def lasting(trouble: str) -> str:
    """Leave out what is only told of the minute that passes: that the limit did not suffice in it."""
    return "; ".join(each for each in trouble.split("; ") if each and _SPENT not in each)


def _judge_readiness(record: Record) -> Check:
    """All are ready within 30 s of each fault's end; what the next fault overtakes counts as part of that one."""
    against, took, overtaken_by, before = [], [], 0, False
    for fault, after_s, overtaken in recoveries(record):
        if fault["name"] == START:
            continue
        what = f"{_moment(record, {'at_s': fault['began_s']})} {fault['name']}: {after_s or math.inf:.0f} s"
        chained, before = before, overtaken
        if overtaken and not chained and (after_s or math.inf) > 2 * READY_S:
            against.append(f"{what}, beyond further faults")
        elif overtaken:
            overtaken_by += 1
        elif after_s is None or after_s > READY_S:
            seen: list[str] = next(
                (each["troubles"] for each in record.of("ready") if each["at_s"] > fault["ended_s"] + READY_S), []
            )
            against.append(
                f"{_moment(record, {'at_s': fault['began_s']})} {fault['name']}: {after_s or math.inf:.0f} s ({seen})"
            )
        else:
            took.append(after_s)
    said = f"half of them within {median(took):.1f} s, the slowest {max(took):.1f} s" if took else "never"
    if overtaken_by:
        said += f"; {overtaken_by} were overtaken by the next fault"
    return Check("ready again within 30 s, no gate closed, nothing down", said, against)


def _all_is_back_s(fault: Entry, after_s: float) -> float:
    """Return when every question can be answered again: where Redis lost the budget, when the next minute begins."""
    back_s: float = fault["ended_s"] + after_s
    return back_s if fault["name"] != "Redis emptied" else -(-back_s // 60) * 60  # docs/replicas.md#budget


def _judge_calm(record: Record) -> Check:
    """Between a recovery and the next fault every question is answered."""
    calm = [
        (_all_is_back_s(fault, after_s) + _CALM_S, following["began_s"])
        for (fault, after_s, overtaken), (following, _, _) in pairwise(recoveries(record))
        if after_s is not None and not overtaken
    ]
    by_status = Counter[str]()
    against = []
    for each in record.of("refusal"):
        by_status[str(each["status"])] += 1
        sent_s: float = each["sent_s"] if "sent_s" in each else each["at_s"]
        if any(since_s <= sent_s and each["at_s"] <= until_s for since_s, until_s in calm):
            against.append(f"{_moment(record, each)} {each['status']} {each['target']}: {each['text'][:120]}")
    told = ", ".join(
        f"{count:,} × {status if status != '0' else 'no answer'}" for status, count in sorted(by_status.items())
    )
    return Check("every question answered between faults", f"refused under faults: {told or 'none'}", against)


def _judge_end(record: Record) -> Check:
    ended = any(True for _ in record.of("end"))
    minutes = (record.entries[-1]["at_s"] - start_s(record)) / 60
    return Check("ran to its end", f"{minutes:.0f} minutes", [] if ended else ["it was ended before"])
