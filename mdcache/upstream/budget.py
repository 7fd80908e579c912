"""The budget: how much weight is left in Binance's own minute, for one family. Pure.

`reserve` spends before a read is sent and is never undone; `settle` records what its answer reported. All times
are UTC milliseconds of the exchange's clock, with its error beside them.
"""

import math
from dataclasses import dataclass, replace
from operator import attrgetter

from mdcache.upstream.priority import Lane

# Theory of operation
# ===================
#
# Binance counts weight in fixed UTC minutes. We know neither its exact time (error) nor how long a request
# travels (trip), so a read counts for every minute it may arrive in: all of now - error … now + the larger
# of 250 ms and (trip + error). It is granted only if each of these minutes has room.
#
# A minute has room for a lane's read of weight w if
#   1. ours + w + what is kept for the other lanes <= share x limit: never over the share, and each lane has
#      its tenth. Kept is what a lane's tenth still lacks, but no more than the part of the tenth that belongs
#      to the rest of the minute: an unused lane releases its tenth gradually, otherwise a fifth of the share
#      would never be spent;
#   2. address + w <= 0.9 x limit, where address = max(ours, header + pending + unseen): `header` is the
#      largest usage Binance reported in this minute (others on the address included), `pending` is ours and
#      unanswered, `unseen` is ours and answered without a header that could have counted it;
#   3. for a paced read (refresh of a tail we hold), what such reads spent stays under the line
#      (second + 12)/60 of what cold reads left of the share.
# And until a minute's first header, no more than 5 % of the limit is in flight, or one read.
#
# A header can only add: one below our own count changes nothing, an absurd one blocks only its own minute.

MINUTE_MS = 60_000
EDGE_MS = 250  # docs/design.md#reservation
ADDRESS_CAP = 0.9  # docs/design.md#usage-headers
BLIND_PART = 0.05  # docs/design.md#usage-headers: in flight before a minute's first header
FLOOR_PART = 0.1  # docs/design.md#lanes
PACE_LEAD_S = 12  # docs/design.md#pacing
_KEPT_MINUTES = 6  # an unmeasured clock may be wrong by one either way


@dataclass(frozen=True, slots=True)
class Minute:
    """The weight spent in one UTC minute. `lanes`: ours by lane; `paced`: the part of it that refreshed tails.

    `header` is `None` until the first; `unseen_ms` is when the newest of `unseen` was answered. `drawn`: all that was
    drawn from the budget that replicas share, in exchange for this one's part; `None` if that was not done.
    """

    number: int
    lanes: tuple[int, ...] = (0,) * len(Lane)
    paced: int = 0
    pending: int = 0
    unseen: int = 0
    unseen_ms: int = 0
    header: int | None = None
    drawn: int | None = None

    @property
    def ours(self) -> int:
        """Weight we reserved in this minute."""
        return sum(self.lanes)

    @property
    def address(self) -> int:
        """The most that the whole address may have used."""
        return max(self.ours, (self.header or 0) + self.pending + self.unseen)


_EMPTY_MINUTE = Minute(0)


@dataclass(frozen=True, slots=True)
class Budget:
    """A family's weight. `limit`: per minute; `share`: our part of it; `in_flight`: sent and unanswered."""

    limit: int
    share: float
    minutes: tuple[Minute, ...] = ()
    in_flight: int = 0

    @property
    def allowed(self) -> int:
        """The weight per minute that this daemon may spend."""
        return int(self.share * self.limit)

    def minute(self, number: int) -> Minute:
        """Return the minute of this number, empty if nothing was spent in it."""
        for minute in self.minutes:
            if minute.number == number:
                return minute
        return Minute(number)


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment: exchange time, its error, and how long a round trip may take (the 99th percentile).

    `local_s`: the same moment by our own clock's `now()`.
    """

    utc_ms: int
    error_ms: int
    round_trip_ms: int
    local_s: float = 0.0

    @property
    def number(self) -> int:
        """The minute it most likely is."""
        return self.utc_ms // MINUTE_MS

    @property
    def minutes(self) -> range:
        """Every minute that a read sent now may arrive in."""
        last_ms = self.utc_ms + max(EDGE_MS, self.round_trip_ms + self.error_ms)
        return range((self.utc_ms - self.error_ms) // MINUTE_MS, last_ms // MINUTE_MS + 1)


@dataclass(frozen=True, slots=True)
class Claim:
    """The weight that a read needs, and its lane."""

    weight: int
    lane: Lane
    paced: bool = False


@dataclass(frozen=True, slots=True)
class Reservation:
    """The weight reserved for a read, until its answer."""

    weight: int
    minutes: range
    sent_at: Moment


@dataclass(frozen=True, slots=True)
class Granted:
    """The read may be sent now; `budget` is the next state."""

    budget: Budget
    reservation: Reservation


@dataclass(frozen=True, slots=True)
class Wait:
    """The read may not be sent now; nothing was spent. `earliest_ms`: exchange time when it may fit; `None`: never.

    `for_answer`: an outstanding answer may make room before that.
    """

    earliest_ms: int | None
    for_answer: bool = False


def reserve(budget: Budget, claim: Claim, now: Moment, factor: float = 1.0) -> Granted | Wait:
    """Spend `claim` in every minute it may fall into, or return when it may fit. `factor` reduces the share."""
    if _never_fits(budget, claim, factor):
        return Wait(None)
    blocked = [
        earliest_ms
        for number in now.minutes
        if (earliest_ms := _fits_from_ms(budget, budget.minute(number), claim, now, factor)) is not None
    ]
    if blocked:
        return Wait(max(blocked))
    blind = budget.minute(now.number).header is None
    if blind and budget.in_flight and budget.in_flight + claim.weight > BLIND_PART * budget.limit:
        return Wait(now.utc_ms, for_answer=True)
    spent = budget
    for number in now.minutes:
        spent = _with_minute(spent, _with_spent(spent.minute(number), claim))
    return Granted(
        replace(spent, in_flight=spent.in_flight + claim.weight), Reservation(claim.weight, now.minutes, now)
    )


def settle(budget: Budget, reservation: Reservation, header: int | None, now: Moment) -> Budget:
    """Record the end of a read. `header`: the usage that its reply reported, `None` if none can be trusted.

    It counts only if send and receipt are certainly in the same minute.
    """
    number = now.number
    spans = {
        (reservation.sent_at.utc_ms - reservation.sent_at.error_ms) // MINUTE_MS,
        (now.utc_ms + now.error_ms) // MINUTE_MS,
    }
    counts = header is not None and spans == {number}
    for charged in reservation.minutes:
        minute = budget.minute(charged)
        if minute.pending < reservation.weight:  # dropped by `rebased`
            continue
        minute = replace(minute, pending=minute.pending - reservation.weight)
        if not (counts and charged == number):
            minute = replace(minute, unseen=minute.unseen + reservation.weight, unseen_ms=now.utc_ms)
        budget = _with_minute(budget, minute)
    if counts and header is not None:
        budget = _with_minute(budget, _with_usage(budget.minute(number), header, reservation))
    return replace(budget, in_flight=max(0, budget.in_flight - reservation.weight))


def rebase(budget: Budget, expected_ms: int, now_ms: int) -> Budget:
    """Return the budget after a correction of the exchange's clock from `expected_ms` to `now_ms`.

    Everything spent until then counts as spent now: too much rather than too little.
    """
    was, now = expected_ms // MINUTE_MS, now_ms // MINUTE_MS
    past = [minute for minute in budget.minutes if minute.number <= was]
    future = [replace(minute, number=minute.number - was + now) for minute in budget.minutes if minute.number > was]
    lanes = tuple(map(sum, zip(*(minute.lanes for minute in past), strict=True))) or (0,) * len(Lane)
    merged = Minute(now, lanes=lanes, paced=sum(minute.paced for minute in past))
    draws = [minute.drawn for minute in past if minute.drawn is not None]
    merged = replace(merged, unseen=merged.ours, unseen_ms=now_ms, drawn=sum(draws) if draws else None)
    return replace(budget, minutes=(merged, *(replace(minute, pending=0) for minute in future)))


def booked(budget: Budget, number: int, weight: int) -> Budget:
    """Return the budget with the weight that another process with our id spent in a minute."""
    minute = budget.minute(number)
    lanes = tuple(
        spent + (weight if lane is Lane.NORMAL else 0) for lane, spent in zip(Lane, minute.lanes, strict=True)
    )
    return _with_minute(budget, replace(minute, lanes=lanes))


def drawn(budget: Budget, number: int, weight: int | None) -> Budget:
    """Return the budget after so much in all was drawn for a minute from the budget that replicas share."""
    minute = budget.minute(number)
    return budget if minute.drawn == weight else _with_minute(budget, replace(minute, drawn=weight))


def reported(budget: Budget, number: int, header: int) -> Budget:
    """Return the budget after another process with this address was told of this usage in a minute."""
    minute = budget.minute(number)
    return budget if header <= (minute.header or 0) else _with_minute(budget, replace(minute, header=header))


def room(budget: Budget, lane: Lane, number: int, utc_ms: int, factor: float = 1.0) -> int:
    """Return the weight that `lane` may still spend in a minute at `utc_ms`, ignoring pacing; may be negative."""
    minute = budget.minute(number)
    return min(
        _lane_allowance(budget, minute, lane, factor, utc_ms) - minute.ours,
        int(ADDRESS_CAP * budget.limit) - minute.address,
    )


def earliest_ms(budget: Budget, claim: Claim, ahead: int, now: Moment, factor: float = 1.0) -> int | None:
    """Return the earliest time for a claim with `ahead` weight before it in its lane; `None`: never."""
    if _never_fits(budget, claim, factor):
        return None
    opens_ms = _room_from_ms(budget, now.number, claim.lane, ahead + claim.weight, now.utc_ms, factor)
    if opens_ms is not None:
        return opens_ms
    short = ahead + claim.weight - max(0, room(budget, claim.lane, now.number, now.utc_ms, factor))
    minutes = math.ceil(short / _lane_allowance(budget, _EMPTY_MINUTE, claim.lane, factor, 0))
    return (now.number + minutes) * MINUTE_MS + now.error_ms


# ------------------------------------------------------------------------------------------- parts


def _lane_allowance(budget: Budget, minute: Minute, lane: Lane, factor: float, utc_ms: int) -> int:
    """Return the share, less what is kept for the other lanes at `utc_ms`."""
    allowed = int(budget.allowed * factor)
    floor = int(allowed * FLOOR_PART)
    left_ms = min(MINUTE_MS, max(0, (minute.number + 1) * MINUTE_MS - utc_ms))
    due = math.ceil(floor * left_ms / MINUTE_MS)
    own = lane.rank
    for rank, spent in enumerate(minute.lanes):
        if rank != own and spent < floor:
            allowed -= min(due, floor - spent)
    return allowed


def _room_from_ms(budget: Budget, number: int, lane: Lane, weight: int, utc_ms: int, factor: float) -> int | None:
    """Return when the minute has room for `weight`, as other lanes release their tenths; `None`: not in this minute."""
    first, last = utc_ms, (number + 1) * MINUTE_MS - 1
    if weight <= room(budget, lane, number, first, factor):
        return first
    if weight > room(budget, lane, number, max(first, last), factor):
        return None
    while first < last:
        middle = (first + last) // 2
        if weight <= room(budget, lane, number, middle, factor):
            last = middle
        else:
            first = middle + 1
    return first


def _never_fits(budget: Budget, claim: Claim, factor: float) -> bool:
    """Return whether not even an empty minute has room for it."""
    whole = _lane_allowance(budget, _EMPTY_MINUTE, claim.lane, factor, 0)
    return claim.weight > min(whole, int(ADDRESS_CAP * budget.limit))


def _fits_from_ms(budget: Budget, minute: Minute, claim: Claim, now: Moment, factor: float) -> int | None:
    """Return `None` if the minute has room for the claim now, else when it may have."""
    next_minute_ms = (minute.number + 1) * MINUTE_MS + now.error_ms
    if claim.weight > room(budget, claim.lane, minute.number, now.utc_ms, factor):
        opens_ms = _room_from_ms(budget, minute.number, claim.lane, claim.weight, now.utc_ms, factor)
        return next_minute_ms if opens_ms is None else opens_ms
    if not claim.paced:
        return None
    cold_left = int(budget.allowed * factor) - (minute.ours - minute.paced)
    if cold_left <= 0:
        return next_minute_ms
    # paced + weight <= cold_left x (s + 12)/60, solved for s; the first paced read of a minute is always allowed
    start_ms = minute.number * MINUTE_MS
    due_s = 60 * (minute.paced + claim.weight) / cold_left - PACE_LEAD_S
    if minute.paced == 0 or due_s * 1000 <= now.utc_ms - start_ms:
        return None
    return min(next_minute_ms, start_ms + int(due_s * 1000) + 1)


def _with_spent(minute: Minute, claim: Claim) -> Minute:
    lanes = list(minute.lanes)
    lanes[claim.lane.rank] += claim.weight
    paced = minute.paced + (claim.weight if claim.paced else 0)
    return replace(minute, lanes=tuple(lanes), paced=paced, pending=minute.pending + claim.weight)


def _with_usage(minute: Minute, header: int, reservation: Reservation) -> Minute:
    """Return the minute with a usage header, which includes everything answered before its own read was sent."""
    seen = reservation.sent_at.utc_ms >= minute.unseen_ms
    return replace(minute, header=max(header, minute.header or 0), unseen=0 if seen else minute.unseen)


def _with_minute(budget: Budget, minute: Minute) -> Budget:
    others = [kept for kept in budget.minutes if kept.number != minute.number]
    return replace(budget, minutes=tuple(sorted([*others, minute], key=attrgetter("number"))[-_KEPT_MINUTES:]))
