"""What replicas tell one another about a family's budget and gate, and what one may do alone. Pure.

The ledger that they share is a port here; `stores/redis/budget.py` keeps it. All times are UTC milliseconds of the
exchange's clock as the caller believes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Protocol

from mdcache.upstream.budget import MINUTE_MS

# Theory of operation
# ===================
#
# Let A be the weight that all replicas together may spend in a minute. The ledger holds what each replica spent in
# it; a read is let through if it fits under A with everybody's. The difficulty is the moment when the ledger is lost:
# each must then go on alone, not knowing what the others spent last, and together never over A. So the ledger always
# keeps back what each of them could spend without it:
#
# 1. Each replica has a *part* of the share. Parts change at minutes' edges only, and for each minute the parts that
#    replicas may believe in never add up to more than the whole: one that grows gets only what others have said they
#    gave up. A replica that says goodbye gives its part up; one that vanished keeps it for ten minutes, or until one
#    that was started in its place tells. A hundredth is nobody's: it lets who comes, and can't tell yet which minute it
#    is, read the exchange's clock.
# 2. In a minute in which it told the ledger nothing, a replica may spend its part of A.
# 3. In a minute in which it did, at h, having spent s: s and its *ration*, which is 0.3 of its part at the minute's
#    beginning and melts to nothing at its end, taken at h + 3 s. So the rations are not wasted: they are free at last.
# 4. The ledger lets a read through only if   all that was spent + its weight + what it keeps for each replica <= A:
#    for one it heard in this minute the ration at the earlier of now and h + 3 s, for one it did not its whole part.
#    What all spent and all that is kept never exceeds A: one that comes back having spent alone may find no room for a
#    new ration. It goes on by what it had, unless it agrees to have none until there is room.
#    A replica's own clock says both h's, so it is never left with less than it counts on, however clocks differ.
# 5. A message that was sent and not answered may have been taken in, or may yet be: the replica goes by the stricter
#    of both. Spending is told as a sum, and only grows, so that nothing counts twice and late messages do no harm.
#    After a message without an answer the next ones commit to nothing, until one is answered. Nor do those of a replica
#    that has a part and can't tell yet which minute it is: it goes by its part, which is kept for it.
# 6. A ledger that is new, comes from another server, or holds less of a replica than it once confirmed has forgotten:
#    nobody shares until the next minute, and ten seconds at least, so that all have told it again what they spent and
#    what parts they have. For ten minutes it believes in as many replicas as any of them had last seen.
#
# The gate is one value with a version. Who changes it writes it with the version it had read; a write that comes too
# late changes nothing, brings the newer value, and is tried again on top of it. A read is let through only by who has
# the newest. A ledger that is new lets nobody send for a little more than a beat: all tell it first what they know of
# the gate. The probe, and each read of a ramp, is such a write: two can't both be the one. A probe or ramp whose
# reads are not heard of for longer than they can take is given up for whoever died with them. While nobody shares, the
# gate is shared all the same.
#
# A replica that has not measured the exchange's clock goes by the time that others told, corrected by the time that
# passed on the ledger's own clock: else it had to keep out of three minutes, and would find no room to measure it.
#
# One that was started again has on its disk what was spent before, and so has the ledger, under the other's name: it
# tells only what is more than that, or it would count twice.
#
# A replica that has not read Binance's limit yet goes by the one that others told: with the least there may be it would
# find no room beside them, not even for the read that tells it.

WHOLE = 1_000_000  # a part is counted in millionths of the share
RATION = 0.3
FROZEN_MS = 3_000  # a ration melts no further for one not heard of for this long
FORGOT_MS = 10_000  # least time after a ledger forgot before it is shared again
ABSENT_MS = 600_000  # docs/design.md#replicas: a replica that vanished keeps its part for 10 min
_FAR = 4  # minutes: no change is further ahead than that
SURE_MS = 10_000  # one that may be further off than this does not know the time, and goes by the others'
MOST_MINUTES = 2  # with more, its clock is not measured yet, and the first of them may be over: no ration to go on by


class Verdict(IntEnum):
    """The ledger's word on one claim."""

    GRANTED = 0
    SOON = 1
    NEXT_MINUTE = 2


@dataclass(frozen=True, slots=True)
class Tally:
    """A replica's own count of one minute.

    `done`: of it, what was answered; `confirmed`: the most that the ledger once had of it;
    `extra`: most that others on the address may have used, by a header; 0 where none told.
    """

    minute: int
    lanes: tuple[int, ...]
    done: int = 0
    confirmed: int = 0
    extra: int = 0


@dataclass(frozen=True, slots=True)
class Ask:
    """One message to the ledger. `claims`: (weight, lane's rank) of reads for all of `tallies`' minutes.

    Its part is `part` before the minute `changes`, `next_part` from there on. `peers`: replicas last seen; `assumed`:
    how many there are in the settings. `limit`: Binance's, 0 where it was not read.
    `instead`: replicas that certainly are no more; this one runs in their place.
    `gate`: what to write if the version is still `version`. `commits`: whether the ledger may count on the ration from
    now on; a replica that does not know whether it will be answered only tells. `modest`: it would do without a ration.
    `patient`: it will not send by this while the ledger is new, and no read is to be written into its gate for it.
    """

    now_ms: int
    error_ms: int
    allowed: int
    address_cap: int
    part: int
    next_part: int
    changes: int
    peers: int
    assumed: int
    limit: int
    tallies: tuple[Tally, ...]
    claims: tuple[tuple[int, int], ...] = ()
    version: int = 0
    gate: str | None = None
    commits: bool = True
    modest: bool = False
    patient: bool = True
    instead: tuple[str, ...] = ()

    @property
    def sure(self) -> bool:
        """Whether the caller can tell which minute it is."""
        return len(self.tallies) <= MOST_MINUTES


@dataclass(frozen=True, slots=True)
class Told:
    """What the ledger holds of a minute: all that was spent, of it answered, and of it the caller's own.

    `heard_ms`: the latest moment at which the caller says to have spoken of it. `before`: by lane, what those spent in
    whose place the caller runs.
    """

    minute: int
    total: int
    done: int
    own: int
    heard_ms: int
    before: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """`sharing`: whether claims may be granted at all now.

    `gate` is `None` where the caller has the newest, and empty where there is none. `crowded`: there is no room for a
    ration of the caller, which it has to agree to. `limit`: Binance's, as one of them told it last; 0 where none did.
    `time_ms`, `error_ms`: the exchange's time by who last was sure of it, for one that is not; 0 where none was.
    `quiet`: it is new, and others may not have told it yet that the gate is shut.
    """

    sharing: bool
    verdicts: tuple[Verdict, ...]
    part: int
    next_part: int
    peers: int
    told: tuple[Told, ...]
    version: int
    gate: str | None
    written: bool
    crowded: bool
    limit: int
    time_ms: int = 0
    error_ms: int = 0
    quiet: bool = False


class LedgerDown(Exception):
    """The ledger can't be asked, or did not answer: what was said to it may be done or not."""


class Ledger(Protocol):
    """One family's ledger."""

    @property
    def up(self) -> bool:
        """Whether it is likely to answer: else `ask` fails at once."""
        ...

    async def ask(self, ask: Ask) -> Answer:
        """Tell and claim, in one step that nobody else is in; raises `LedgerDown`."""
        ...

    async def goodbye(self, now_ms: int) -> None:
        """Give up the part; says nothing of a failure."""
        ...


def ration(part: int, allowed: int, minute: int, at_ms: int) -> float:
    """Weight that one may still spend in `minute` if the ledger is lost, last heard of 3 s before `at_ms`."""
    left_ms = min(MINUTE_MS, max(0, (minute + 1) * MINUTE_MS - at_ms))
    return part * allowed * RATION * left_ms / MINUTE_MS / WHOLE


@dataclass(frozen=True, slots=True)
class Standing:
    """What one replica may do without the ledger. `caps`: for minutes in which it may have been heard.

    Its part is `part` before the minute `changes`, `next_part` from there on. `confirmed`: what the ledger had of it.
    """

    part: int
    next_part: int = 0
    changes: int = 0
    peers: int = 0
    caps: Mapping[int, int] = field(default_factory=dict)
    confirmed: Mapping[int, int] = field(default_factory=dict)

    def part_in(self, minute: int) -> int:
        """Its part, in millionths of the share."""
        return self.part if minute < self.changes else self.next_part

    def cap(self, minute: int, allowed: int) -> int:
        """The most it may have spent in `minute` while it is alone."""
        whole = self.part_in(minute) * allowed // WHOLE
        return self.caps.get(minute, whole)


def alone(part: int) -> Standing:
    """Of a replica that never reached the ledger: it goes by `part` until it does."""
    return Standing(part, part)


def rolled(standing: Standing, minute: int) -> Standing:
    """The same, its next change right after `minute`, the first that it may still spend in."""
    if standing.changes > minute + _FAR:  # its clock was put right
        least = min(standing.part, standing.next_part)
        return replace(standing, part=least, next_part=least, changes=minute + 1)
    if minute < standing.changes:
        return standing
    return replace(standing, part=standing.next_part, changes=minute + 1)


def asked(standing: Standing, ask: Ask) -> Standing:
    """A message is under way: the ledger may count on what is said in it from now on."""
    if not ask.commits:
        return standing
    caps = dict(standing.caps)
    for tally in ask.tallies:
        left = ration(standing.part_in(tally.minute), ask.allowed, tally.minute, ask.now_ms + FROZEN_MS)
        left = 0 if ask.modest else left
        caps[tally.minute] = min(standing.cap(tally.minute, ask.allowed), sum(tally.lanes) + int(left))
    return replace(standing, caps=caps)


def answered(before: Standing, ask: Ask, answer: Answer) -> Standing:
    """The answer came; `before` is how it stood when it was asked. Minutes long past are let go."""
    first = min(tally.minute for tally in ask.tallies) - 1
    caps = {minute: cap for minute, cap in before.caps.items() if minute >= first}
    confirmed = {minute: own for minute, own in before.confirmed.items() if minute >= first}
    after = replace(before, part=answer.part, next_part=answer.next_part, peers=answer.peers)
    for told in answer.told:
        confirmed[told.minute] = max(told.own, confirmed.get(told.minute, 0))
        if answer.sharing:
            left = ration(after.part_in(told.minute), ask.allowed, told.minute, told.heard_ms + FROZEN_MS)
            caps[told.minute] = told.own + (0 if answer.crowded else int(left))
    return replace(after, caps=caps, confirmed=confirmed)
