"""How long a gate stays closed, by what closed it and how often: pure values, no loop."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcache.upstream.backoff import BODY_WAIT_MS, ClosureReason, Denied, ladder_ms
from mdcache.upstream.gate import Gate, GateDecision, GateState, decide, step
from mdcache.upstream.gate_events import Answered, Dropped, ForcedShut, GateEvent, QuestionFailed, Sent
from tests.support.gates import POLICY, T0, closed, denied, go, ramp


@pytest.mark.parametrize(
    ("reason", "stated_ms", "wait_ms"),
    [
        (ClosureReason.RATE, 10_000, 11_000),
        (ClosureReason.RATE, None, 31_000),
        (ClosureReason.RATE, 0, 31_000),
        (ClosureReason.RATE, -5_000, 31_000),
        (ClosureReason.RATE, 10**12, 300_000),
        (ClosureReason.BAN, 240_000, 242_000),
        (ClosureReason.BAN, None, 120_000),
        (ClosureReason.BAN, -1, 120_000),
        (ClosureReason.BAN, 10**15, 3 * 86_400_000),
        (ClosureReason.WAF, None, 1_000),
        (ClosureReason.WAF, 777_000, 779_000),
        (ClosureReason.WAF, 10**15, 3 * 86_400_000),
        (ClosureReason.OVERLOAD, 30_000, 31_000),
        (ClosureReason.OVERLOAD, 10**12, 3_600_000),
        (ClosureReason.OVERLOAD, None, 1_000),
        (ClosureReason.REGION, None, 3_600_000),
    ],
)
def test_how_long_it_waits(reason: ClosureReason, stated_ms: int | None, wait_ms: int) -> None:
    gate = closed(reason, stated_ms=stated_ms)
    assert (gate.reason, gate.until_ms - T0) == (reason, wait_ms)


def test_bans_without_a_time_double() -> None:
    gate, waits = closed(ClosureReason.BAN), []
    for _ in range(14):
        waits.append(gate.last_pause_ms)
        gate = go(gate, Sent(), now_ms=gate.until_ms)
        gate = step(gate, denied(gate, ClosureReason.BAN), gate.until_ms, POLICY)
    assert waits[:4] == [120_000, 240_000, 480_000, 960_000]
    assert waits[-1] == 3 * 86_400_000


def test_firewall_pauses_climb_from_first_to_last_step() -> None:
    gate, waits = closed(ClosureReason.WAF), []
    for _ in range(12):
        waits.append(gate.last_pause_ms)
        gate = go(gate, Sent(), now_ms=gate.until_ms)
        gate = step(gate, denied(gate, ClosureReason.WAF), gate.until_ms, POLICY)
    assert waits[:5] == [1_000, 2_000, 4_000, 8_000, 16_000]
    assert waits[-2:] == [300_000, 300_000]


def test_pauses_after_silence_climb_to_twenty_seconds() -> None:
    """Nobody has asked for them: whoever comes back is asked again within half a minute."""
    gate, waits = go(Gate(), *[QuestionFailed(1.0)] * 5), []
    for _ in range(12):
        waits.append(gate.last_pause_ms)
        gate = go(gate, Sent(), now_ms=gate.until_ms)
        gate = step(gate, Dropped(gate.epoch, 1.0), gate.until_ms, POLICY)
    assert waits[:6] == [1_000, 2_000, 4_000, 8_000, 16_000, 20_000]
    assert waits[-1] == 20_000


@pytest.mark.parametrize("seconds", [20, 600, 86_400])
def test_the_first_403_after_an_outage_costs_the_first_step(seconds: int) -> None:
    gate, now_ms = without_answers(Gate(), T0, seconds)
    waits = []
    for _ in range(11):
        gate = go(go(gate, Sent(), now_ms=now_ms), denied(gate, ClosureReason.WAF), now_ms=now_ms)
        waits.append(gate.until_ms - now_ms)
        now_ms = gate.until_ms
    assert waits[:4] == [1_000, 2_000, 4_000, 8_000]
    assert waits[-1] == 300_000


def test_silence_after_refusals_waits_as_long_as_a_refusal_would_but_for_twenty_seconds() -> None:
    gate, waits = closed(ClosureReason.WAF), []
    for _ in range(6):
        gate = go(go(gate, Sent(), now_ms=gate.until_ms), Dropped(gate.epoch, 1.0), now_ms=gate.until_ms)
        waits.append(gate.last_pause_ms)
    assert waits == [2_000, 4_000, 8_000, 16_000, 20_000, 20_000]
    gate = go(go(gate, Sent(), now_ms=gate.until_ms), denied(gate, ClosureReason.WAF), now_ms=gate.until_ms)
    assert gate.last_pause_ms == 2_000  # the second refusal


@given(
    turns=st.lists(
        st.tuples(st.sampled_from(["403", "nothing", "rows"]), st.sampled_from([0, 0, 30, 400])), max_size=60
    )
)
def test_only_time_without_a_refusal_shortens_the_pause_after_the_next_one(turns: list[tuple[str, int]]) -> None:
    """Whatever comes between them: reads without an answer, answers, or somebody who asks later than he might."""
    gate, now_ms, refusals, longest_ms, answered_ms = Gate(), T0, 0, 0, -(10**9)
    for reply, later_s in turns:
        now_ms = max(now_ms, gate.until_ms) + later_s * 1_000
        was = gate.state
        gate = go(gate, Sent(), now_ms=now_ms)
        if reply == "rows":
            gate = go(gate, Answered(gate.epoch), now_ms=now_ms)
            answered_ms = now_ms if was is GateState.CLOSED else answered_ms
        elif reply == "nothing":
            gate = go(gate, Dropped(gate.epoch, 0.0), QuestionFailed(0.0), now_ms=now_ms)
            longest_ms = max(longest_ms, gate.until_ms - now_ms)
        else:
            unproved = was is GateState.CLOSED
            if not unproved and now_ms - answered_ms >= max(60_000, longest_ms):
                refusals, longest_ms = 0, 0
            gate = go(gate, denied(gate, ClosureReason.WAF, jitter=0.0), now_ms=now_ms)
            assert gate.until_ms - now_ms >= min(300_000, 1_000 << min(refusals, 20)) // 2
            refusals, longest_ms = refusals + 1, gate.until_ms - now_ms


@pytest.mark.parametrize("level", [0, 3, 9, 10**6])
def test_a_pause_is_between_half_and_all_of_its_step(level: int) -> None:
    rung = min(300_000, 1_000 * 2 ** min(level, 20))
    assert ladder_ms(level, 0.0, POLICY) == rung // 2
    assert ladder_ms(level, 1.0, POLICY) == rung


def test_late_refusals_extend_and_never_shorten() -> None:
    gate = closed(ClosureReason.RATE, stated_ms=20_000)
    late = gate.epoch - 1
    same = go(gate, denied(gate, ClosureReason.RATE, 5_000, epoch=late))
    assert same.until_ms == gate.until_ms
    longer = go(gate, denied(gate, ClosureReason.RATE, 60_000, epoch=late))
    assert longer.until_ms == T0 + 61_000
    ban = go(longer, denied(gate, ClosureReason.BAN, None, epoch=late))
    assert (ban.until_ms, ban.reason) == (T0 + 120_000, ClosureReason.BAN)
    assert go(ban, denied(gate, ClosureReason.WAF, epoch=late)) == ban
    assert ban.rates == 1  # one burst is one refusal


def test_a_burst_of_403_is_one_step() -> None:
    gate = go(Gate(), *[Sent()] * 8)
    first = gate.epoch
    gate = go(gate, *[denied(gate, ClosureReason.WAF, epoch=first) for _ in range(8)])
    assert (gate.level, gate.until_ms) == (1, T0 + 1_000)


def test_a_ban_whose_body_is_on_its_way() -> None:
    gate = closed(ClosureReason.BAN, body_pending=True)
    assert gate.until_ms == T0 + BODY_WAIT_MS
    extended = go(gate, denied(gate, ClosureReason.BAN, 60_000, epoch=gate.epoch - 1))
    assert extended.until_ms == T0 + 62_000
    untold = go(gate, denied(gate, ClosureReason.BAN, None, epoch=gate.epoch - 1))
    assert untold.until_ms == T0 + 120_000


def test_a_late_refusal_after_reopening_closes_without_a_further_step() -> None:
    gate = ramp()
    late = go(gate, denied(gate, ClosureReason.WAF, epoch=gate.epoch - 1))
    assert (late.state, late.level, late.last_pause_ms) == (GateState.CLOSED, 1, 1_000)


def test_a_refusal_in_ramp_takes_the_next_longer_pause() -> None:
    gate = ramp(ClosureReason.RATE, stated_ms=20_000)
    gate = go(gate, Sent())
    again = go(gate, denied(gate, ClosureReason.RATE, 1_000))
    assert again.last_pause_ms == 2 * 21_000
    gate = ramp(ClosureReason.BAN, stated_ms=118_000)
    again = go(go(gate, Sent()), denied(gate, ClosureReason.BAN, 1_000))
    assert again.last_pause_ms == 240_000
    gate = ramp(ClosureReason.WAF)
    again = go(go(gate, Sent()), denied(gate, ClosureReason.WAF))
    assert again.last_pause_ms == 2_000


def half_refused(seed: int, every_ms: int, trip_ms: int, top: int) -> int:
    """Requests in ten minutes of steady demand while half of all answers are 403."""
    rng = random.Random(seed)
    policy = replace(POLICY, ramp_top=top)
    gate, sends, in_flight = Gate(), 0, list[tuple[int, int]]()
    for now_ms in range(0, 600_000, 50):
        while in_flight and in_flight[0][0] <= now_ms:
            _, epoch = in_flight.pop(0)
            if rng.random() < 0.5:
                event: GateEvent = Denied(epoch, ClosureReason.WAF, None, 30_000, rng.random())
            else:
                event = Answered(epoch)
            gate = step(gate, event, T0 + now_ms, policy)
        asked = now_ms % every_ms == 0 and len(in_flight) < top
        if asked and decide(gate, T0 + now_ms) in {GateDecision.GO, GateDecision.PROBE}:
            gate = step(gate, Sent(), T0 + now_ms, policy)
            in_flight.append((now_ms + trip_ms, gate.epoch))
            sends += 1
    return sends


@pytest.mark.parametrize(("every_ms", "trip_ms"), [(50, 50), (50, 200), (500, 50), (5_000, 50)])
def test_half_of_all_answers_403_for_ten_minutes_is_at_most_28_requests(every_ms: int, trip_ms: int) -> None:
    counts = [half_refused(seed, every_ms, trip_ms, 8) for seed in range(40)]
    assert max(counts) <= 28
    assert min(counts) > 5


def reopened(gate: Gate, now_ms: int) -> Gate:
    """Return the gate after its probe and its whole ramp were answered."""
    while gate.state is not GateState.OPEN:
        gate = go(gate, Sent(), now_ms=now_ms)
        gate = go(gate, Answered(gate.epoch), now_ms=now_ms)
    return gate


def without_answers(gate: Gate, now_ms: int, seconds: int) -> tuple[Gate, int]:
    """Return the gate after so long without any answer, at the end of the last pause, and that time."""
    end_ms = now_ms + seconds * 1_000
    for _ in range(5):
        gate = go(gate, Sent(), Dropped(gate.epoch, 0.0), QuestionFailed(0.0), now_ms=now_ms)
    while (now_ms := max(now_ms, gate.until_ms)) < end_ms:
        gate = go(gate, Sent(), now_ms=now_ms)
        gate = go(gate, Dropped(gate.epoch, 0.0), now_ms=now_ms)
    return gate, now_ms


@pytest.mark.parametrize("seconds", [20, 300, 3_600])
@pytest.mark.parametrize("in_ramp", [True, False])
def test_a_ban_right_after_an_outage_lasts_as_long_as_stated(seconds: int, *, in_ramp: bool) -> None:
    gate, now_ms = without_answers(Gate(), T0, seconds)
    gate = go(gate, Sent(), now_ms=now_ms)
    gate = go(gate, Answered(gate.epoch), now_ms=now_ms)
    gate = gate if in_ramp else reopened(gate, now_ms)
    gate = go(gate, *[Sent()] * 8, now_ms=now_ms)
    epoch = gate.epoch
    gate = go(gate, *[denied(gate, ClosureReason.BAN, 14_000, epoch=epoch)] * 8, now_ms=now_ms)
    assert gate.until_ms - now_ms == 16_000


def test_a_pause_that_binance_states_is_not_lengthened_however_often_it_refuses() -> None:
    gate, now_ms, pauses = Gate(), T0, []
    for _ in range(15):
        gate = go(gate, Sent(), now_ms=now_ms)
        gate = go(gate, denied(gate, ClosureReason.BAN, body_pending=True), now_ms=now_ms)
        gate = go(gate, denied(gate, ClosureReason.BAN, 14_000, epoch=gate.epoch - 1), now_ms=now_ms)
        pauses.append(gate.until_ms - now_ms)
        now_ms = gate.until_ms
        gate = reopened(gate, now_ms)
    assert pauses == [16_000] * 15


def test_what_had_no_answer_never_counts_as_flapping() -> None:
    gate = go(go(Gate(), Sent()), denied(Gate(), ClosureReason.WAF))
    gate, now_ms = without_answers(gate, gate.until_ms, 900)
    gate = reopened(gate, now_ms)
    gate = go(go(gate, Sent(), now_ms=now_ms), denied(gate, ClosureReason.WAF), now_ms=now_ms)
    assert gate.until_ms - now_ms <= POLICY.max_ms
    assert gate.trouble == (now_ms,)


def test_two_faults_within_a_minute_are_not_flapping_and_a_third_is() -> None:
    gate, now_ms, pauses = Gate(), T0, []
    for reason, stated_ms in ((ClosureReason.RATE, 10_000), (ClosureReason.WAF, None), (ClosureReason.WAF, None)):
        gate = go(gate, *[Sent()] * 8, now_ms=now_ms)
        gate = go(gate, denied(gate, reason, stated_ms), now_ms=now_ms)
        pauses.append(gate.until_ms - now_ms)
        gate = reopened(gate, gate.until_ms)
        now_ms = gate.reopened_ms + 40_000
    assert pauses[0] == 11_000
    assert pauses[1] <= 2_000
    assert pauses[2] > 300_000


def test_the_operators_pause_is_not_lengthened_by_flapping() -> None:
    gate, now_ms = Gate(), T0
    for _ in range(15):
        gate = go(go(gate, Sent(), now_ms=now_ms), denied(gate, ClosureReason.WAF), now_ms=now_ms)
        now_ms = gate.until_ms
        gate = reopened(gate, now_ms)
    assert now_ms - T0 > 600_000
    gate = go(gate, ForcedShut(60_000), now_ms=now_ms)
    assert gate.until_ms - now_ms == 60_000
