"""What replicas tell one another about a family's budget, and what each may spend without the others. Pure.

The store they share is a port here; `stores/redis/budget.py` keeps it. Times are UTC milliseconds of the exchange's
clock.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from typing import Protocol

# Theory of operation
# ===================
#
# Let A be the weight that all replicas together may spend in a minute. The store has one counter for each minute, and
# replicas draw *chunks* from it, which they spend without asking anybody. What was drawn and not spent when the minute
# ends is lost. The difficulty is the moment when the store is lost: each replica must then go on alone, not knowing
# what the others drew, and together never over A.
#
# 1. Each replica has a *part* of the share. The parts that replicas may believe in never add up to more than the
#    whole: one grows only by what nobody has, from the first minute on in which nobody drew yet; one that shrinks is
#    believed to be as large as it was until its owner says otherwise.
# 2. A replica *enters* a minute with its first message in it: it gives its part in that minute up for a first chunk,
#    which is never more than its part. From then on it may spend what it drew. In a minute that it did not enter it may
#    spend its part: so a replica that loses the store has its part from the next minute on.
# 3. The store lets a replica draw only if   all that was drawn + the parts of those that did not enter + it <= A.
# 4. A message that was sent and not answered may have arrived, or may arrive yet: the replica goes by the stricter of
#    both. What it drew is told as a sum that only grows, so nothing counts twice and late messages do no harm. After a
#    message without an answer the next ones enter no minute, until one is answered.
# 5. A store that is new, comes from another server, or holds less of a replica than it once confirmed has forgotten:
#    nobody enters a minute that may have begun before, and none for ten seconds, so that all have told it again what
#    they drew and what their parts are. For ten minutes it believes in as many replicas as any of them had last seen.
# 6. A replica that says goodbye gives its part up; one that vanished keeps it for ten minutes. One that starts again in
#    its place has its id, and takes all that was drawn under it for spent. Where the one before it still runs (its
#    folder was copied), its messages are refused from then on: it goes on as another replica, with another id.
#
# A hundredth of A is drawn only by replicas that have not read Binance's limit yet: the newest. They go by the limit,
# and until their clock is measured by the time, that others told.

WHOLE = 1_000_000  # a part is counted in millionths of the share
CHUNK = 0.02  # of the share
LEAST = 10  # weight in a chunk, where the share is small: a few reads
UNSPENT = 0.15  # of the share, at most: what all replicas' chunks are together; the first ones are as large
_FAR = 4  # minutes: no change is further ahead than that


class DrawVerdict(IntEnum):
    """What the store says of one minute's need."""

    GRANTED = 0
    SOON = 1
    NEXT_MINUTE = 2


class DrawKind(StrEnum):
    """A replica's first message, any other, or its last."""

    HELLO = "hello"
    SAY = "say"
    BYE = "bye"


@dataclass(frozen=True, slots=True)
class MinuteRequest:
    """One minute in a message: the sum drawn or spent so far, and what more is needed, or wanted where there is enough.

    `entered`: the store confirmed that it has as much; `first`: the chunk to enter with.
    """

    minute: int
    drawn: int
    entered: bool = False
    first: int = 0
    need: int = 0
    want: int = 0


@dataclass(frozen=True, slots=True)
class DrawRequest:
    """One message to the store; `seq` grows with each.

    `limit`: Binance's, 0 where it was not read; `allowed`: the share of it. `replicas`, `born`: as the last reply had
    them; `assumed`: how many replicas there are in the settings. `returning`: another process had this id before;
    `process`: a number of this one's own.
    `commits`: the store may take it for entering. `rank` of the lane that is in need.
    """

    kind: DrawKind
    seq: int
    now_ms: int
    allowed: int
    limit: int
    part: int
    replicas: int
    born: int
    assumed: int
    returning: bool
    process: int
    error_ms: int
    commits: bool
    gate_version: int
    rank: int
    minutes: tuple[MinuteRequest, ...]


@dataclass(frozen=True, slots=True)
class MinuteReply:
    """What the store holds of a minute: this replica's sum, whether it entered, and the sum of all."""

    minute: int
    drawn: int
    entered: bool
    total: int
    verdict: DrawVerdict


@dataclass(frozen=True, slots=True)
class GateReply:
    """The shared gate: `text` is empty where the caller knows `version`. `quiet`: it is new, wait for the others."""

    version: int
    text: str
    quiet: bool
    written: bool = False


@dataclass(frozen=True, slots=True)
class DrawReply:
    """The store's answer. `part` holds from the minute `since` on. `born`: names the store's life.

    `limit`: Binance's as another replica read it, 0 where none did. `utc_ms`, `error_ms`: the exchange's time by the
    last replica that was sure of it, for one that is not; 0 where none was.
    """

    shared: bool
    born: int
    part: int
    since: int
    replicas: int
    limit: int
    utc_ms: int
    error_ms: int
    gate: GateReply
    minutes: tuple[MinuteReply, ...]


class BudgetStoreDown(Exception):
    """The store can't be asked, or did not answer: what was said to it may be done or not."""


class Displaced(BudgetStoreDown):
    """Another process said hello under this replica's id: what was said to the store is not done."""


class BudgetStore(Protocol):
    """Where the replicas on one egress meet, for one family."""

    @property
    def up(self) -> bool:
        """Whether it is likely to answer: else every call fails at once."""
        ...

    async def draw(self, request: DrawRequest) -> DrawReply:
        """Tell and draw, in one step; raises `BudgetStoreDown`, and `Displaced`."""
        ...

    def rename(self) -> None:
        """Go on under another id, that nobody had before."""
        ...

    async def write_gate(self, version: int, text: str) -> GateReply:
        """Write the gate if its version still is `version`; raises `BudgetStoreDown`."""
        ...

    def subscribe(self, on_gate: Callable[[int, str], None]) -> None:
        """Have `on_gate(version, text)` called soon after another replica wrote the gate."""
        ...


@dataclass(frozen=True, slots=True)
class Allotment:
    """What one replica may spend without the store.

    Its part is `part` before the minute `changes`, `next_part` from there on. `drawn`: what surely is its own, in
    minutes that it may have entered; `entered`: those that the store confirmed.
    """

    part: int = 0
    next_part: int = 0
    changes: int = 0
    replicas: int = 0
    born: int = 0
    drawn: Mapping[int, int] = field(default_factory=dict)
    entered: frozenset[int] = frozenset()

    def part_in(self, minute: int) -> int:
        """Its part, in millionths of the share."""
        return self.part if minute < self.changes else self.next_part

    def cap(self, minute: int, allowed: int) -> int:
        """Return the most it may have spent in `minute` before it asks again."""
        return self.drawn.get(minute, self.part_in(minute) * allowed // WHOLE)


def alone(part: int) -> Allotment:
    """Return that of a replica which never reached the store: it goes by `part` until it does."""
    return Allotment(part, part)


def rolled(allotment: Allotment, first: int) -> Allotment:
    """Forget what is over; `first` is the earliest minute that can still be spent in."""
    drawn = {minute: weight for minute, weight in allotment.drawn.items() if minute >= first - 1}
    allotment = replace(allotment, drawn=drawn, entered=allotment.entered & drawn.keys())
    if allotment.changes > first + _FAR:  # its clock was put right
        least = min(allotment.part, allotment.next_part)
        return replace(allotment, part=least, next_part=least, changes=first)
    if first < allotment.changes:
        return allotment
    return replace(allotment, part=allotment.next_part, changes=first)


def stated_part(allotment: Allotment, first: int) -> int:
    """Return the largest part it may still go by."""
    return max(allotment.part_in(first), allotment.next_part)


def chunk(allowed: int, replicas: int) -> int:
    """Return how much to draw at once."""
    return max(1, int(min(max(allowed * CHUNK, LEAST), allowed * UNSPENT / max(1, replicas))))


def minute_requests(
    allotment: Allotment, minutes: Sequence[int], own: Callable[[int], int], allowed: int, weight: int = 0
) -> tuple[MinuteRequest, ...]:
    """Return what to say of each minute where `own(minute)` was spent and `weight` is to be spent in all of them."""
    replicas = max(1, allotment.replicas)
    size, requests = chunk(allowed, replicas), []
    for minute in minutes:
        spent = own(minute)
        drawn = max(spent, allotment.drawn.get(minute, 0))
        part = allotment.part_in(minute) * allowed // WHOLE
        first = 0 if minute in allotment.drawn else min(part, max(size, int(allowed * UNSPENT / replicas)))
        need = max(0, spent + weight - drawn)
        held = max(drawn, first) - spent - weight
        want = size if held < size / 2 else 0
        requests.append(MinuteRequest(minute, drawn, minute in allotment.entered, first, need, want))
    return tuple(requests)


def sent(allotment: Allotment, request: DrawRequest) -> Allotment:
    """Return what is left while a message is under way: the store may take it for entering from now on."""
    if not request.commits:
        return allotment
    drawn = dict(allotment.drawn)
    for each in request.minutes:
        drawn.setdefault(each.minute, max(each.drawn, each.first))
    return replace(allotment, drawn=drawn)


def answered(before: Allotment, request: DrawRequest, reply: DrawReply) -> Allotment:
    """Return what the reply gives; `before` is how it stood when the message was sent."""
    drawn, entered = dict(before.drawn), set(before.entered)
    for told, each in zip(request.minutes, reply.minutes, strict=True):
        if each.entered:  # no more than was asked for, whatever is written there
            drawn[each.minute] = min(each.drawn, max(told.drawn, told.first) + told.need + told.want)
            entered.add(each.minute)
        else:  # a store that forgot: what is ours is still ours
            entered.discard(each.minute)
    after = replace(before, replicas=reply.replicas, born=reply.born, drawn=drawn, entered=frozenset(entered))
    if reply.part == before.next_part:
        return after
    last = request.minutes[-1].minute
    if reply.part > before.next_part and reply.since == 0:
        return replace(after, part=reply.part, next_part=reply.part)
    since = max(last + 1, reply.since if reply.part > before.next_part else 0)
    return replace(after, part=before.part_in(request.minutes[0].minute), next_part=reply.part, changes=since)
