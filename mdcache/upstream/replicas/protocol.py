"""The protocol of the shared budget: messages to the store, and what a replica may spend without it. Pure.

The shared store is a port here; `stores/redis/budget.py` implements it. Times are UTC milliseconds of the exchange's
clock.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

# Theory of operation
# ===================
#
# Let A be the weight that all replicas together may spend in a minute. The store has one counter for each minute, and
# replicas draw *chunks* from it, which they spend without asking again. What was drawn and not spent when the minute
# ends is lost. The difficulty is the moment when the store fails: each replica must then continue alone, not knowing
# what the others drew, and all together must never exceed A.
#
# 1. Each replica has a *part* of the share. The parts that replicas may assume never add up to more than the
#    share: one grows only by what no replica has, from the first minute in which none has drawn; one that shrinks
#    counts as large as it was until its owner confirms the change.
# 2. A replica *enters* a minute with its first message in it: it exchanges its part in that minute for a first chunk,
#    which is never more than its part. After that it may spend what it drew. In a minute that it did not enter, it may
#    spend its part, so a replica without the store has its part from the next minute on.
# 3. The store lets a replica draw only if   all that was drawn + the parts of those that did not enter + it <= A.
# 4. A message that was sent and not answered may have arrived, or may still arrive: the replica assumes the stricter of
#    both. It reports what it drew as a growing sum, so nothing counts twice and late messages do no harm. After a
#    message without an answer, the next ones enter no minute until one is answered.
# 5. A store that is new, is another server, or has less from a replica than it once confirmed, has lost data:
#    no replica enters a minute that may have begun before, nor any for ten seconds, until all have reported again what
#    they drew and their parts. For ten minutes it assumes as many replicas as any of them had last seen. What the
#    others then show to be missing in a minute that none may enter any more is the same loss, and no further one.
# 6. A replica that leaves releases its part. One that vanished keeps it for ten minutes; for one minute if as many
#    replicas as there ever are at once (by the settings, and as far as the store has seen) ran together since.
#    One that restarts keeps its id, and counts everything drawn under it as spent. If the process before it still
#    runs (its folder was copied), that one's messages are refused from then on: it continues with another id.
#
# A hundredth of A is reserved for replicas that have not read Binance's limit yet: the newest. They use the limit,
# and (until their clock is measured) the time, that others reported.

WHOLE = 1_000_000  # parts are in millionths of the share
CHUNK = 0.02  # of the share
LEAST = 10  # the least weight of a chunk if the share is small: a few reads
UNSPENT = 0.15  # of the share: the most that all replicas' chunks may be together; the first ones are as large
NEWCOMERS = 0.01  # of the share, for replicas that have not read the limit yet
_FAR = 4  # minutes: a change is never further ahead


class DrawKind(StrEnum):
    """The kinds of messages: a process's first, any other, and its last."""

    REGISTER = "register"
    REPORT = "report"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class MinuteRequest:
    """One minute in a message: the sum drawn or spent so far, what else is needed, and what `extra` to draw ahead.

    `entered`: the store confirmed the sum; `first`: the chunk to enter with. `header`: the address's usage that Binance
    reported to this replica, 0 if it did not.
    """

    minute: int
    drawn: int
    entered: bool = False
    first: int = 0
    need: int = 0
    extra: int = 0
    header: int = 0


@dataclass(frozen=True, slots=True)
class DrawRequest:
    """One message to the store; `seq` grows with each.

    `limit`: Binance's, 0 if it was not read; `allowed`: the share of it. `replicas`, `born`: from the last reply;
    `assumed`: the number of replicas in the settings. `returning`: an earlier process had this id; `process`: a number
    of this process alone. `enters`: the message may enter minutes. `rank`: of the lane in need.
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
    enters: bool
    gate_version: int
    rank: int
    minutes: tuple[MinuteRequest, ...]


@dataclass(frozen=True, slots=True)
class MinuteReply:
    """The store's data of a minute: this replica's sum, whether it entered, and the sum of all.

    `header`: the largest usage that Binance reported to any replica.
    """

    minute: int
    drawn: int
    entered: bool
    total: int
    header: int = 0


@dataclass(frozen=True, slots=True)
class GateReply:
    """The shared gate: `text` is empty if the caller knows `version`. `new`: wait for the other replicas' reports.

    `age_ms`: how long ago it was written, by the store's clock.
    """

    version: int
    text: str
    new: bool
    age_ms: int = 0
    written: bool = False


@dataclass(frozen=True, slots=True)
class DrawReply:
    """The store's answer. `part` is valid from the minute `since`. `born`: changes when the store lost its data.

    `limit`: Binance's as another replica read it, 0 if none did. `utc_ms`, `error_ms`: the exchange's time by the last
    replica that had measured it, for one that has not; 0 if none had.
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
    """The store can't be asked, or did not answer: it may have processed the message or not."""


class Displaced(BudgetStoreDown):
    """Another process registered with this replica's id: the store did not process the message."""


class BudgetStore(Protocol):
    """The store that the replicas on one egress share, for one family."""

    @property
    def up(self) -> bool:
        """Whether it is likely to answer; otherwise every call fails at once."""

    @property
    def listens(self) -> bool:
        """Whether gates that others write are announced here; else they are seen in replies only."""

    async def draw(self, request: DrawRequest) -> DrawReply:
        """Report and draw, in one step; raises `BudgetStoreDown`, and `Displaced`."""

    def rename(self) -> None:
        """Continue with a new id."""

    async def write_gate(self, version: int, text: str) -> GateReply:
        """Write the gate if its version is still `version`; raises `BudgetStoreDown`."""

    def subscribe(self, on_gate: Callable[[int, str], None]) -> None:
        """Call `on_gate(version, text)` soon after another replica has written the gate."""


@dataclass(frozen=True, slots=True)
class Allotment:
    """What one replica may spend without the store.

    Its part is `part` before the minute `changes`, `next_part` from then on. `drawn`: what is certainly its own, in
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


def at_minute(allotment: Allotment, first: int) -> Allotment:
    """Drop past minutes; `first` is the earliest minute in which weight can still be spent."""
    drawn = {minute: weight for minute, weight in allotment.drawn.items() if minute >= first - 1}
    settled = allotment.changes == first and allotment.part == allotment.next_part
    if settled and len(drawn) == len(allotment.drawn) and allotment.entered <= drawn.keys():
        return allotment  # as almost always: asked for each read, it changes once a minute
    allotment = replace(allotment, drawn=drawn, entered=allotment.entered & drawn.keys())
    if allotment.changes > first + _FAR:  # its clock was corrected
        least = min(allotment.part, allotment.next_part)
        return replace(allotment, part=least, next_part=least, changes=first)
    if first < allotment.changes:
        return allotment
    return replace(allotment, part=allotment.next_part, changes=first)


def stated_part(allotment: Allotment, first: int) -> int:
    """Return the largest part that it may still use."""
    return max(allotment.part_in(first), allotment.next_part)


def chunk(allowed: int, replicas: int) -> int:
    """Return how much to draw at once."""
    return max(1, int(min(max(allowed * CHUNK, LEAST), allowed * UNSPENT / max(1, replicas))))


def minute_requests(
    allotment: Allotment, minutes: Sequence[int], own: Callable[[int], int], allowed: int, weight: int = 0
) -> tuple[MinuteRequest, ...]:
    """Return the request for each minute; `own(minute)` was spent, and `weight` is to be spent in all of them."""
    replicas = max(1, allotment.replicas)
    size, requests = chunk(allowed, replicas), []
    for minute in minutes:
        spent = own(minute)
        drawn = max(spent, allotment.drawn.get(minute, 0))
        part = allotment.part_in(minute) * allowed // WHOLE
        first = 0 if minute in allotment.drawn else min(part, max(size, int(allowed * UNSPENT / replicas)))
        need = max(0, spent + weight - drawn)
        held = max(drawn, first) - spent - weight
        extra = size if held < size / 2 else 0
        requests.append(MinuteRequest(minute, drawn, minute in allotment.entered, first, need, extra))
    return tuple(requests)


def while_unanswered(allotment: Allotment, request: DrawRequest) -> Allotment:
    """Return the allotment while a message is unanswered: it may enter minutes from now on."""
    if not request.enters:
        return allotment
    drawn = dict(allotment.drawn)
    for each in request.minutes:
        drawn.setdefault(each.minute, max(each.drawn, each.first))
    return replace(allotment, drawn=drawn)


def after_reply(before: Allotment, request: DrawRequest, reply: DrawReply) -> Allotment:
    """Return the allotment after a reply; `before` is the one from when the message was sent."""
    drawn, entered = dict(before.drawn), set(before.entered)
    for told, each in zip(request.minutes, reply.minutes, strict=True):
        if each.entered:  # no more than was requested, whatever the store says
            drawn[each.minute] = min(each.drawn, max(told.drawn, told.first) + told.need + told.extra)
            entered.add(each.minute)
        else:  # the store lost data: what we drew stays ours
            entered.discard(each.minute)
    after = replace(before, replicas=reply.replicas, born=reply.born, drawn=drawn, entered=frozenset(entered))
    if reply.part == before.next_part:
        return after
    last = request.minutes[-1].minute
    if reply.part > before.next_part and reply.since == 0:
        return replace(after, part=reply.part, next_part=reply.part)
    since = max(last + 1, reply.since if reply.part > before.next_part else 0)
    return replace(after, part=before.part_in(request.minutes[0].minute), next_part=reply.part, changes=since)
