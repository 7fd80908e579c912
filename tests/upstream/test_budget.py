"""The budget, by itself, and against an exchange that counts by its own clock."""

import math
import random
from dataclasses import replace

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from mdcache.upstream.budget import (
    MINUTE_MS,
    Budget,
    Claim,
    Granted,
    Minute,
    Moment,
    Reservation,
    Wait,
    booked,
    drawn,
    earliest_ms,
    rebase,
    reported,
    reserve,
    room,
    settle,
)
from mdcache.upstream.priority import Lane
from tests.support.examples import examples

M0 = 29_846_000 * MINUTE_MS  # the start of some minute
ONE = Claim(1, Lane.HIGH)


def at(seconds: float, error_ms: int = 0, trip_ms: int = 0) -> Moment:
    return Moment(M0 + int(seconds * 1000), error_ms, trip_ms)


def granted(decision: Granted | Wait) -> Granted:
    assert isinstance(decision, Granted), decision
    return decision


def spend(budget: Budget, weight: int, now: Moment, lane: Lane = Lane.HIGH, **more: bool) -> tuple[Budget, Reservation]:
    done = granted(reserve(budget, Claim(weight, lane, **more), now))
    return done.budget, done.reservation


def drained(budget: Budget, lane: Lane, now: Moment, *, paced: bool = False) -> int:
    """Weight that a lane can spend in steps of 1, each answered before the next."""
    total = 0
    while isinstance(step := reserve(budget, Claim(1, lane, paced), now), Granted):
        budget = settle(step.budget, step.reservation, None, now)
        total += 1
    return total


def test_a_denied_claim_spends_nothing_and_says_when() -> None:
    budget = Budget(limit=100, share=0.5)
    budget, _ = spend(budget, 40, at(10))
    assert reserve(budget, Claim(5, Lane.HIGH), at(10)) == Wait(M0 + 36_000)  # two lanes keep 2 each of 5 by then
    assert reserve(budget, Claim(11, Lane.HIGH), at(10)) == Wait(M0 + MINUTE_MS)
    assert budget.minute(at(10).number).ours == 40


def test_each_lane_keeps_its_tenth() -> None:
    budget = Budget(limit=2_000, share=0.5)
    assert [drained(budget, lane, at(0)) for lane in Lane] == [800, 800, 800]
    for lane in Lane:
        budget = settle(*spend(budget, 100, at(0), lane), None, at(0))
    assert [drained(budget, lane, at(0)) for lane in Lane] == [700, 700, 700]


def test_an_unused_tenth_is_released_with_the_minute() -> None:
    budget = Budget(limit=2_000, share=0.5)
    assert [drained(budget, Lane.NORMAL, at(second)) for second in (0, 15, 30, 45, 59.7)] == [800, 850, 900, 950, 998]
    budget = settle(*spend(budget, 80, at(0), Lane.LOW), None, at(0))
    assert drained(budget, Lane.NORMAL, at(15)) == 1_000 - 80 - 75 - 20


def test_what_never_fits_is_never() -> None:
    assert reserve(Budget(100, 0.5), Claim(41, Lane.HIGH), at(10)) == Wait(None)
    assert earliest_ms(Budget(100, 0.5), Claim(41, Lane.HIGH), 0, at(10)) is None


def test_the_share_may_be_halved() -> None:
    budget, charge = spend(Budget(100, 0.5), 21, at(10))
    budget = settle(budget, charge, None, at(10))
    assert reserve(budget, ONE, at(10), 0.5) == Wait(M0 + 30_000)
    assert isinstance(reserve(budget, ONE, at(10)), Granted)


def test_a_send_near_the_end_is_charged_to_both_minutes() -> None:
    for now, numbers in [
        (at(59.7), 1),
        (at(59.75), 2),
        (at(59.5, error_ms=100, trip_ms=399), 1),
        (at(59.5, error_ms=100, trip_ms=400), 2),
        (at(0.05, error_ms=100), 2),
        (at(0.1, error_ms=100), 1),
        (at(30, error_ms=60_000), 3),
    ]:
        budget, charge = spend(Budget(100, 0.5), 4, now)
        assert len(charge.minutes) == numbers
        assert [budget.minute(number).ours for number in charge.minutes] == [4] * numbers


def test_both_minutes_must_have_room() -> None:
    budget, _ = spend(Budget(100, 0.5), 36, at(59.9))
    assert reserve(budget, Claim(5, Lane.HIGH), at(60.5)) == Wait(M0 + MINUTE_MS + 12_000)
    full, charge = spend(Budget(100, 0.5), 40, at(30))
    full = settle(full, charge, None, at(30))
    full = settle(*spend(full, 8, at(59.5)), None, at(59.5))
    assert reserve(full, ONE, at(59.8)) == Wait(M0 + MINUTE_MS)
    assert isinstance(reserve(full, ONE, at(60)), Granted)


def test_headers_add_what_others_used() -> None:
    budget, charge = spend(Budget(100, 0.5), 1, at(1))
    budget = settle(budget, charge, 88, at(1.1))
    assert room(budget, Lane.HIGH, at(2).number, at(2).utc_ms) == 2
    budget, charge = spend(budget, 2, at(2))
    assert reserve(budget, ONE, at(2)) == Wait(M0 + MINUTE_MS)
    assert isinstance(reserve(budget, ONE, at(60)), Granted)


def test_pending_comes_on_top_of_the_header() -> None:
    budget, first = spend(Budget(1000, 0.5), 10, at(1))
    budget, _ = spend(budget, 5, at(1))
    budget = settle(budget, first, 100, at(1.1))
    assert budget.minute(at(1).number).address == 105


def test_weight_that_no_header_could_count_is_added_to_it() -> None:
    budget, silent = spend(Budget(1000, 0.5), 10, at(1))
    budget, early = spend(budget, 5, at(1))
    budget = settle(budget, silent, None, at(2))
    budget = settle(budget, early, 100, at(2.5))
    assert budget.minute(at(1).number).address == 110
    budget, later = spend(budget, 1, at(3))
    budget = settle(budget, later, 111, at(3.1))
    assert budget.minute(at(1).number).address == 111


@pytest.mark.parametrize("header", [None, 0, 3])
def test_a_header_below_our_own_count_changes_nothing(header: int | None) -> None:
    budget, charge = spend(Budget(100, 0.5), 30, at(1))
    budget = settle(budget, charge, header, at(1.1))
    assert budget.minute(at(1).number).address == 30


def test_an_absurd_header_blocks_its_own_minute_only() -> None:
    budget, charge = spend(Budget(100, 0.5), 1, at(1))
    budget = settle(budget, charge, 10**12, at(1.1))
    assert reserve(budget, ONE, at(50)) == Wait(M0 + MINUTE_MS)
    assert isinstance(reserve(budget, ONE, at(60)), Granted)


@pytest.mark.parametrize(("sent", "received", "error"), [(59.6, 60.1, 0), (30.0, 59.99, 20), (0.01, 1.0, 20)])
def test_a_header_counts_only_within_one_minute(sent: float, received: float, error: int) -> None:
    budget, charge = spend(Budget(1000, 0.5), 1, at(sent, error))
    budget = settle(budget, charge, 700, at(received, error))
    assert {minute.header for minute in budget.minutes} == {None}
    assert all(minute.address == 1 for minute in budget.minutes)


def test_before_the_first_header_a_twentieth_is_in_flight() -> None:
    budget = Budget(limit=1_000, share=0.5)
    budget, first = spend(budget, 30, at(1))
    budget, _ = spend(budget, 20, at(1))
    assert reserve(budget, ONE, at(1)) == Wait(at(1).utc_ms, for_answer=True)
    answered = settle(budget, first, 50, at(1.2))
    assert isinstance(reserve(answered, Claim(200, Lane.HIGH), at(1.2)), Granted)
    unanswered = settle(budget, first, None, at(1.2))
    assert isinstance(reserve(unanswered, Claim(30, Lane.HIGH), at(1.2)), Granted)
    assert isinstance(reserve(unanswered, Claim(31, Lane.HIGH), at(1.2)), Wait)


def test_before_the_first_header_one_call_may_be_dearer() -> None:
    assert isinstance(reserve(Budget(100, 0.5), Claim(20, Lane.HIGH), at(1)), Granted)


def test_refreshes_keep_to_the_line() -> None:
    budget = Budget(limit=2_000, share=0.5)
    assert drained(budget, Lane.HIGH, at(0), paced=True) == 200
    assert drained(budget, Lane.HIGH, at(18), paced=True) == 500
    assert drained(budget, Lane.HIGH, at(48), paced=True) == 960
    assert drained(budget, Lane.HIGH, at(0)) == 800


def test_a_paced_claim_says_when_the_line_reaches_it() -> None:
    budget, charge = spend(Budget(2_000, 0.5), 200, at(0), paced=True)
    budget = settle(budget, charge, 200, at(0))
    wait = reserve(budget, Claim(100, Lane.HIGH, paced=True), at(0))
    assert wait == Wait(M0 + 6_001)
    assert isinstance(reserve(budget, Claim(100, Lane.HIGH, paced=True), at(6.001)), Granted)


def test_cold_reads_leave_refreshes_less() -> None:
    budget, charge = spend(Budget(2_000, 0.5), 800, at(0))
    budget = settle(budget, charge, 800, at(0))
    assert drained(budget, Lane.NORMAL, at(0), paced=True) == 40


def test_earliest_counts_what_waits_before() -> None:
    budget = Budget(limit=100, share=0.5)
    assert earliest_ms(budget, ONE, 39, at(10)) == at(10).utc_ms
    assert earliest_ms(budget, ONE, 40, at(10, error_ms=7)) == M0 + 12_000
    assert earliest_ms(budget, ONE, 49, at(10, error_ms=7)) == M0 + MINUTE_MS + 7
    assert earliest_ms(budget, ONE, 120, at(10)) == M0 + 3 * MINUTE_MS


def test_a_corrected_clock_carries_everything_along() -> None:
    budget, _ = spend(Budget(1000, 0.5), 7, at(59.5))
    budget, _ = spend(budget, 5, at(61))
    moved = rebase(budget, at(61).utc_ms, at(3_000).utc_ms)
    assert moved.minute(at(3_000).number).ours == 12
    assert moved.minute(at(3_000).number).address == 12
    edge, charge = spend(Budget(1000, 0.5), 7, at(59.9))
    moved = rebase(edge, at(59.9).utc_ms, at(599.9).utc_ms)
    assert [moved.minute(at(s).number).ours for s in (599.9, 600)] == [7, 7]
    assert settle(moved, charge, 7, at(600.1)).in_flight == 0


def test_a_corrected_clock_moves_all_that_is_known_of_each_minute() -> None:
    now = at(60).number
    kept = Minute(now + 1, (0, 3, 0), pending=3, header=40)
    before = (Minute(now - 1, (1, 2, 0), paced=2, pending=1, drawn=9), Minute(now, (4, 0, 5), paced=5, drawn=2), kept)
    moved = rebase(Budget(1000, 0.5, before), at(60).utc_ms, at(185).utc_ms)
    merged = Minute(now + 2, (5, 2, 5), paced=7, unseen=12, unseen_ms=at(185).utc_ms, drawn=11)
    assert moved.minutes == (merged, replace(kept, number=now + 3, pending=0))
    assert rebase(Budget(1000, 0.5), at(0).utc_ms, at(60).utc_ms).minutes == (Minute(now, unseen_ms=at(60).utc_ms),)


def test_what_others_spent_drew_and_read_is_taken_over() -> None:
    minute = Minute(at(0).number, (1, 2, 3), header=50, pending=4)
    budget = Budget(1000, 0.5, (minute,))
    assert booked(budget, minute.number, 7).minutes == (replace(minute, lanes=(1, 9, 3)),)
    assert booked(budget, minute.number + 1, 7).minutes == (minute, Minute(minute.number + 1, (0, 7, 0)))
    assert drawn(budget, minute.number, 30).minutes == (replace(minute, drawn=30),)
    assert drawn(budget, minute.number, None) is budget
    assert reported(budget, minute.number, 51).minutes == (replace(minute, header=51),)
    assert reported(budget, minute.number, 50) is budget
    assert reported(budget, minute.number + 1, 1).minutes == (minute, Minute(minute.number + 1, header=1))


def test_an_answer_settles_each_minute_that_was_charged_and_not_corrected_since() -> None:
    budget, charge = spend(Budget(1000, 0.5), 7, at(59.9))
    first, second = budget.minutes
    moved = replace(budget, minutes=(replace(first, pending=0), second))
    settled = settle(moved, charge, None, at(60.1)).minutes[1]
    assert settled == replace(second, pending=0, unseen=7, unseen_ms=at(60.1).utc_ms)


def test_what_is_kept_for_other_lanes_ends_with_the_minute() -> None:
    last_ms = M0 + MINUTE_MS - 1
    assert [room(Budget(100, 0.5), Lane.HIGH, at(0).number, last_ms + more) for more in (0, 1)] == [48, 50]


def test_the_next_minute_begins_when_it_has_certainly_begun() -> None:
    budget, _ = spend(Budget(100, 0.5), 40, at(10))
    assert reserve(budget, Claim(11, Lane.HIGH), at(10, error_ms=7)) == Wait(M0 + MINUTE_MS + 7)


def test_the_first_refresh_of_a_minute_does_not_wait_for_the_line() -> None:
    budget, _ = spend(Budget(1000, 0.5), 200, at(0), paced=True)
    assert reserve(replace(budget, in_flight=0), Claim(1, Lane.HIGH, paced=True), at(0)) == Wait(M0 + 12_121)


LIMIT, SHARE = 600, 0.5


@settings(examples(10, 500), phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    seed=st.integers(0, 2**32),
    error_ms=st.sampled_from([0, 20, 300]),
    trip_ms=st.integers(5, 900),
    lie=st.sampled_from(["honest", "absent", "low", "high", "jumping", "minus"]),
    foreign=st.sampled_from([0, 300, 500]),
    weights=st.sampled_from([(1,), (2,), (1, 2, 5, 10), (20, 1)]),
)
@pytest.mark.untraced
def test_no_minute_of_the_exchange_ever_sees_too_much(
    seed: int, error_ms: int, trip_ms: int, lie: str, foreign: int, weights: tuple[int, ...]
) -> None:
    """Tenfold demand for three minutes, by a client that knows the time only within `error_ms`."""
    rng = random.Random(seed)
    skew_ms = rng.randint(-error_ms, error_ms)
    budget = Budget(LIMIT, SHARE)
    ours: dict[int, int] = {}
    total: dict[int, int] = {}
    by_lane = dict.fromkeys(Lane, 0)
    flying: list[tuple[int, Reservation, int | None]] = []
    arrivals: list[tuple[int, int, Reservation]] = []
    for now_ms in range(M0 + 20_000, M0 + 150_000, 50):
        believed = Moment(now_ms + skew_ms, error_ms, trip_ms)
        minute = now_ms // MINUTE_MS
        total.setdefault(minute, foreign)  # all at once, as the minute begins
        for arrival in [each for each in arrivals if each[0] <= now_ms]:
            arrivals.remove(arrival)
            _, back_ms, charge = arrival
            ours[minute] = ours.get(minute, 0) + charge.weight
            total[minute] = total.get(minute, 0) + charge.weight
            used = total[minute]
            header = {
                "honest": used,
                "absent": None,
                "low": 1,
                "high": used * 3,
                "jumping": rng.choice([used, 0, used + 50]),
                "minus": None,
            }[lie]
            flying.append((back_ms, charge, header))
        for flight in [each for each in flying if each[0] <= now_ms]:
            flying.remove(flight)
            budget = settle(budget, flight[1], flight[2], believed)
        for _ in range(4):
            lane = rng.choice(list(Lane))
            claim = Claim(rng.choice(weights), lane, rng.random() < 0.5)
            decision = reserve(budget, claim, believed)
            if isinstance(decision, Wait):
                assert decision.earliest_ms is None or decision.earliest_ms >= believed.utc_ms
                continue
            budget = decision.budget
            by_lane[lane] += claim.weight
            there_ms = now_ms + rng.randint(0, trip_ms)
            arrivals.append((there_ms, now_ms + trip_ms, decision.reservation))
    assert max(ours.values()) <= LIMIT * SHARE
    if lie == "honest":
        assert max(total.values()) <= 0.9 * LIMIT
    whole = M0 // MINUTE_MS + 1
    if foreign == 0 and lie in {"honest", "absent", "low", "minus"}:
        assert ours[whole] >= 0.6 * LIMIT * SHARE
        assert min(by_lane.values()) > 0


def test_budget_is_a_value() -> None:
    budget = Budget(100, 0.5)
    reserve(budget, ONE, at(1))
    assert budget == Budget(100, 0.5)
    assert replace(budget, limit=200).allowed == 100
    assert math.isclose(budget.share, 0.5)
