"""The gate's table, by itself: pure values, no loop."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mdcache.upstream import gate as gates
from mdcache.upstream.backoff import BODY_WAIT_MS, BackoffPolicy, ClosureReason, Refused, ladder_ms
from mdcache.upstream.gate import Gate, GateDecision, GateState, decide, reopens_in_ms, share_factor, step
from mdcache.upstream.gate_events import Answered, Dropped, ForcedOpen, ForcedShut, GateEvent, QuestionFailed, Sent

POLICY = BackoffPolicy(initial_ms=1_000, max_ms=300_000, ramp_top=8)
T0 = 10_000_000


def refused(gate: Gate, reason: ClosureReason, stated_ms: int | None = None, **more: object) -> Refused:
    event = Refused(gate.epoch, reason, stated_ms, next_minute_ms=30_000, jitter=1.0)
    return replace(event, **more)  # type: ignore[arg-type]


def go(gate: Gate, *events: GateEvent, now_ms: int = T0) -> Gate:
    for event in events:
        gate = step(gate, event, now_ms, POLICY)
    return gate


def closed(reason: ClosureReason = ClosureReason.WAF, **more: object) -> Gate:
    gate = go(Gate(), Sent())
    return go(gate, refused(gate, reason, **more))  # type: ignore[arg-type]


def probing(reason: ClosureReason = ClosureReason.WAF, **more: object) -> Gate:
    gate = closed(reason, **more)
    return go(gate, Sent(), now_ms=gate.until_ms)


def ramp(reason: ClosureReason = ClosureReason.WAF, **more: object) -> Gate:
    gate = probing(reason, **more)
    return go(gate, Answered(gate.epoch), now_ms=gate.until_ms)


STATES: dict[GateState, Callable[[], Gate]] = {
    GateState.OPEN: Gate,
    GateState.CLOSED: closed,
    GateState.PROBING: probing,
    GateState.RAMP: ramp,
}


def every_event(epoch: int) -> list[GateEvent]:
    return [
        Sent(),
        Answered(epoch),
        Dropped(epoch, 0.5),
        Refused(epoch, ClosureReason.WAF, None, 30_000, 0.5),
        QuestionFailed(0.5),
        ForcedOpen(),
        ForcedShut(5_000),
    ]


def test_the_table_is_complete() -> None:
    assert set(gates._TABLE) == set(GateState)
    for row in gates._TABLE.values():
        assert list(row) == [type(event) for event in every_event(0)]


# What each pair leads to, for an event of the gate's own epoch.
EXPECTED = {
    GateState.OPEN: [
        GateState.OPEN,
        GateState.OPEN,
        GateState.OPEN,
        GateState.CLOSED,
        GateState.OPEN,
        GateState.OPEN,
        GateState.CLOSED,
    ],
    GateState.CLOSED: [
        GateState.CLOSED,
        GateState.CLOSED,
        GateState.CLOSED,
        GateState.CLOSED,
        GateState.CLOSED,
        GateState.OPEN,
        GateState.CLOSED,
    ],
    GateState.PROBING: [
        GateState.PROBING,
        GateState.RAMP,
        GateState.CLOSED,
        GateState.CLOSED,
        GateState.PROBING,
        GateState.OPEN,
        GateState.CLOSED,
    ],
    GateState.RAMP: [
        GateState.RAMP,
        GateState.RAMP,
        GateState.RAMP,
        GateState.CLOSED,
        GateState.RAMP,
        GateState.OPEN,
        GateState.CLOSED,
    ],
}


@pytest.mark.parametrize("state", list(GateState))
@pytest.mark.parametrize("index", range(7))
def test_where_every_pair_leads(state: GateState, index: int) -> None:
    gate = STATES[state]()
    assert gate.state is state
    assert go(gate, every_event(gate.epoch)[index]).state is EXPECTED[state][index]


@pytest.mark.parametrize("state", list(GateState))
@pytest.mark.parametrize("index", [1, 2])
def test_what_comes_late_changes_nothing(state: GateState, index: int) -> None:
    gate = STATES[state]()
    assert go(gate, every_event(gate.epoch - 1)[index]) == gate


def test_closed_sends_nothing_before_its_time_and_one_probe_after() -> None:
    gate = closed(ClosureReason.RATE, stated_ms=10_000)
    assert gate.until_ms == T0 + 11_000
    assert decide(gate, gate.until_ms - 1) is GateDecision.SHUT
    assert go(gate, Sent(), now_ms=gate.until_ms - 1) == gate
    assert decide(gate, gate.until_ms) is GateDecision.PROBE
    gate = go(gate, Sent(), now_ms=gate.until_ms)
    assert gate.state is GateState.PROBING
    assert decide(gate, gate.until_ms + 10**9) is GateDecision.SHUT
    assert reopens_in_ms(gate, gate.until_ms) == gates.PROBE_WAIT_MS


def test_ramp_doubles_to_open() -> None:
    gate = ramp()
    widths = []
    while gate.state is GateState.RAMP:
        sent = 0
        while decide(gate, T0) is GateDecision.GO:
            gate = go(gate, Sent())
            sent += 1
        assert decide(gate, T0) is GateDecision.HOLD
        widths.append(sent)
        gate = go(gate, *[Answered(gate.epoch)] * sent)
    assert widths == [1, 2, 4]
    assert (gate.state, gate.in_flight) == (GateState.OPEN, 0)


def test_a_ramp_of_one_is_open_after_one() -> None:
    gate = ramp()
    gate = step(gate, Sent(), T0, replace(POLICY, ramp_top=1))
    assert step(gate, Answered(gate.epoch), T0, replace(POLICY, ramp_top=1)).state is GateState.OPEN


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
        gate = step(gate, refused(gate, ClosureReason.BAN), gate.until_ms, POLICY)
    assert waits[:4] == [120_000, 240_000, 480_000, 960_000]
    assert waits[-1] == 3 * 86_400_000


def test_firewall_pauses_climb_from_first_to_last_step() -> None:
    gate, waits = closed(ClosureReason.WAF), []
    for _ in range(12):
        waits.append(gate.last_pause_ms)
        gate = go(gate, Sent(), now_ms=gate.until_ms)
        gate = step(gate, refused(gate, ClosureReason.WAF), gate.until_ms, POLICY)
    assert waits[:5] == [1_000, 2_000, 4_000, 8_000, 16_000]
    assert waits[-2:] == [300_000, 300_000]


@pytest.mark.parametrize("level", [0, 3, 9, 10**6])
def test_a_pause_is_between_half_and_all_of_its_step(level: int) -> None:
    rung = min(300_000, 1_000 * 2 ** min(level, 20))
    assert ladder_ms(level, 0.0, POLICY) == rung // 2
    assert ladder_ms(level, 1.0, POLICY) == rung


def test_late_refusals_extend_and_never_shorten() -> None:
    gate = closed(ClosureReason.RATE, stated_ms=20_000)
    late = gate.epoch - 1
    same = go(gate, refused(gate, ClosureReason.RATE, 5_000, epoch=late))
    assert same.until_ms == gate.until_ms
    longer = go(gate, refused(gate, ClosureReason.RATE, 60_000, epoch=late))
    assert longer.until_ms == T0 + 61_000
    ban = go(longer, refused(gate, ClosureReason.BAN, None, epoch=late))
    assert (ban.until_ms, ban.reason) == (T0 + 120_000, ClosureReason.BAN)
    assert go(ban, refused(gate, ClosureReason.WAF, epoch=late)) == ban
    assert ban.rates == 1  # one burst is one refusal


def test_a_burst_of_403_is_one_step() -> None:
    gate = go(Gate(), *[Sent()] * 8)
    first = gate.epoch
    gate = go(gate, *[refused(gate, ClosureReason.WAF, epoch=first) for _ in range(8)])
    assert (gate.level, gate.until_ms) == (1, T0 + 1_000)


def test_a_ban_whose_body_is_on_its_way() -> None:
    gate = closed(ClosureReason.BAN, body_pending=True)
    assert gate.until_ms == T0 + BODY_WAIT_MS
    extended = go(gate, refused(gate, ClosureReason.BAN, 60_000, epoch=gate.epoch - 1))
    assert extended.until_ms == T0 + 62_000
    untold = go(gate, refused(gate, ClosureReason.BAN, None, epoch=gate.epoch - 1))
    assert untold.until_ms == T0 + 120_000


def test_a_late_refusal_after_reopening_closes_without_a_further_step() -> None:
    gate = ramp()
    late = go(gate, refused(gate, ClosureReason.WAF, epoch=gate.epoch - 1))
    assert (late.state, late.level, late.last_pause_ms) == (GateState.CLOSED, 1, 1_000)


def test_a_refusal_in_ramp_takes_the_next_longer_pause() -> None:
    gate = ramp(ClosureReason.RATE, stated_ms=20_000)
    gate = go(gate, Sent())
    again = go(gate, refused(gate, ClosureReason.RATE, 1_000))
    assert again.last_pause_ms == 2 * 21_000
    gate = ramp(ClosureReason.BAN, stated_ms=118_000)
    again = go(go(gate, Sent()), refused(gate, ClosureReason.BAN, 1_000))
    assert again.last_pause_ms == 240_000
    gate = ramp(ClosureReason.WAF)
    again = go(go(gate, Sent()), refused(gate, ClosureReason.WAF))
    assert again.last_pause_ms == 2_000


def test_a_second_429_in_a_row_halves_the_share_for_ten_minutes() -> None:
    gate = ramp(ClosureReason.RATE, stated_ms=1_000)
    assert share_factor(gate, T0) == 1.0
    gate = go(go(gate, Sent()), refused(gate, ClosureReason.RATE, 1_000))
    assert share_factor(gate, T0 + 599_999) == 0.5
    assert share_factor(gate, T0 + 600_000) == 1.0


def test_two_429_far_apart_are_not_in_a_row() -> None:
    gate = ramp(ClosureReason.RATE, stated_ms=1_000)
    later = gate.reopened_ms + 60_000
    gate = step(go(gate, Sent()), refused(gate, ClosureReason.RATE, 1_000), later, POLICY)
    assert share_factor(gate, later) == 1.0


def test_the_step_is_forgotten_after_as_long_as_the_last_pause() -> None:
    gate = closed(ClosureReason.WAF)
    for _ in range(7):
        gate = go(gate, Sent(), now_ms=gate.until_ms)
        gate = step(gate, refused(gate, ClosureReason.WAF), gate.until_ms, POLICY)
    assert gate.last_pause_ms == 128_000
    gate = go(gate, Sent(), now_ms=gate.until_ms)
    gate = go(gate, Answered(gate.epoch), now_ms=gate.until_ms)
    reopened = gate.reopened_ms
    gate = go(gate, Sent())
    soon = step(gate, refused(gate, ClosureReason.WAF), reopened + 127_999, POLICY)
    late = step(gate, refused(gate, ClosureReason.WAF), reopened + 128_000, POLICY)
    assert (soon.last_pause_ms, late.last_pause_ms) == (256_000, 1_000)


def test_five_failed_questions_in_a_row_close() -> None:
    gate = go(Gate(), *[QuestionFailed(1.0)] * 4)
    assert gate.state is GateState.OPEN
    survived = go(go(gate, Sent()), Answered(gate.epoch), QuestionFailed(1.0))
    assert (survived.state, survived.failures) == (GateState.OPEN, 1)
    gate = go(gate, QuestionFailed(1.0))
    assert (gate.state, gate.reason, gate.until_ms) == (GateState.CLOSED, ClosureReason.FAILURES, T0 + 1_000)


def test_a_probe_without_an_answer_closes_for_the_next_step() -> None:
    gate = probing(ClosureReason.BAN, stated_ms=1_000)
    gate = step(gate, Dropped(gate.epoch, 1.0), gate.until_ms, POLICY)
    assert (gate.state, gate.reason, gate.last_pause_ms) == (GateState.CLOSED, ClosureReason.FAILURES, 1_000)
    gate = go(gate, Sent(), now_ms=gate.until_ms)
    gate = step(gate, Dropped(gate.epoch, 1.0), gate.until_ms, POLICY)
    assert gate.last_pause_ms == 2_000


def test_after_the_operator_opens_late_refusals_are_ignored() -> None:
    gate = closed(ClosureReason.BAN, stated_ms=86_400_000)
    opened = go(gate, ForcedOpen())
    assert (opened.state, opened.level, opened.bans) == (GateState.OPEN, 0, 0)
    assert go(opened, refused(opened, ClosureReason.BAN, 10**6, epoch=gate.epoch)) == opened
    assert go(opened, refused(opened, ClosureReason.BAN, 10**6)).state is GateState.CLOSED


def test_the_operator_shuts_and_does_not_shorten_a_ban() -> None:
    gate = go(Gate(), ForcedShut(60_000))
    assert (gate.reason, gate.until_ms) == (ClosureReason.OPERATOR, T0 + 60_000)
    ban = go(closed(ClosureReason.BAN, stated_ms=600_000), ForcedShut(1_000))
    assert (ban.reason, ban.until_ms) == (ClosureReason.BAN, T0 + 602_000)


@pytest.mark.parametrize("reason", [ClosureReason.NONE, ClosureReason.FAILURES, ClosureReason.OPERATOR])
def test_only_refusals_refuse(reason: ClosureReason) -> None:
    with pytest.raises(ValueError, match="nothing refuses"):
        closed(reason)


def half_refused(seed: int, every_ms: int, trip_ms: int, top: int) -> int:
    """Requests in ten minutes of steady demand while half of all answers are 403."""
    rng = random.Random(seed)
    policy = replace(POLICY, ramp_top=top)
    gate, sends, in_flight = Gate(), 0, list[tuple[int, int]]()
    for now_ms in range(0, 600_000, 50):
        while in_flight and in_flight[0][0] <= now_ms:
            _, epoch = in_flight.pop(0)
            if rng.random() < 0.5:
                event: GateEvent = Refused(epoch, ClosureReason.WAF, None, 30_000, rng.random())
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
def test_half_of_all_answers_403_for_ten_minutes_is_at_most_25_requests(every_ms: int, trip_ms: int) -> None:
    counts = [half_refused(seed, every_ms, trip_ms, 8) for seed in range(40)]
    assert max(counts) <= 25
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
    gate = go(gate, *[refused(gate, ClosureReason.BAN, 14_000, epoch=epoch)] * 8, now_ms=now_ms)
    assert gate.until_ms - now_ms == 16_000


def test_a_pause_that_binance_states_is_not_lengthened_however_often_it_refuses() -> None:
    gate, now_ms, pauses = Gate(), T0, []
    for _ in range(15):
        gate = go(gate, Sent(), now_ms=now_ms)
        gate = go(gate, refused(gate, ClosureReason.BAN, body_pending=True), now_ms=now_ms)
        gate = go(gate, refused(gate, ClosureReason.BAN, 14_000, epoch=gate.epoch - 1), now_ms=now_ms)
        pauses.append(gate.until_ms - now_ms)
        now_ms = gate.until_ms
        gate = reopened(gate, now_ms)
    assert pauses == [16_000] * 15


def test_what_had_no_answer_never_counts_as_flapping() -> None:
    gate = go(go(Gate(), Sent()), refused(Gate(), ClosureReason.WAF))
    gate, now_ms = without_answers(gate, gate.until_ms, 900)
    gate = reopened(gate, now_ms)
    gate = go(go(gate, Sent(), now_ms=now_ms), refused(gate, ClosureReason.WAF), now_ms=now_ms)
    assert gate.until_ms - now_ms <= POLICY.max_ms
    assert gate.trouble == (now_ms,)


def test_the_operators_pause_is_not_lengthened_by_flapping() -> None:
    gate, now_ms = Gate(), T0
    for _ in range(15):
        gate = go(go(gate, Sent(), now_ms=now_ms), refused(gate, ClosureReason.WAF), now_ms=now_ms)
        now_ms = gate.until_ms
        gate = reopened(gate, now_ms)
    assert now_ms - T0 > 600_000
    gate = go(gate, ForcedShut(60_000), now_ms=now_ms)
    assert gate.until_ms - now_ms == 60_000


class GateMachine(RuleBasedStateMachine):
    """Random lives of a gate against one number: the moment before which nothing may be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate()
        self.now_ms = T0
        self.in_flight: list[int] = []
        self.not_before_ms = 0

    def step(self, event: GateEvent) -> None:
        before = self.gate
        self.gate = step(before, event, self.now_ms, POLICY)
        if before.state is GateState.CLOSED and self.gate.state is GateState.CLOSED:
            assert self.gate.until_ms >= before.until_ms
        if not isinstance(event, ForcedOpen) and before.state is GateState.CLOSED and self.now_ms < before.until_ms:
            assert self.gate.state is GateState.CLOSED

    @rule(ms=st.sampled_from([1, 50, 999, 5_000, 61_000, 400_000]))
    def time_passes(self, ms: int) -> None:
        self.now_ms += ms

    @rule()
    def a_read_comes(self) -> None:
        if decide(self.gate, self.now_ms) in {GateDecision.GO, GateDecision.PROBE}:
            assert self.now_ms >= self.not_before_ms
            self.step(Sent())
            self.in_flight.append(self.gate.epoch)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), how=st.sampled_from(["ok", "drop", "429", "418", "403", "451", "503"]))
    def a_reply_comes(self, data: st.DataObject, how: str) -> None:
        epoch = self.in_flight.pop(data.draw(st.integers(0, len(self.in_flight) - 1)))
        if how == "ok":
            self.step(Answered(epoch))
        elif how == "drop":
            self.step(Dropped(epoch, data.draw(st.floats(0, 1))))
        else:
            stated = data.draw(st.none() | st.integers(-10, 10**10))
            jitter = data.draw(st.floats(0, 1))
            self.step(Refused(epoch, ClosureReason(how), stated, 30_000, jitter))
            longest_ms = {"429": 300_000, "451": 0, "503": 3_600_000}.get(how, 3 * 86_400_000)
            if epoch >= self.gate.forced_epoch and stated is not None and stated > 0:
                self.not_before_ms = max(self.not_before_ms, self.now_ms + min(longest_ms, stated))

    @rule(jitter=st.floats(0, 1))
    def a_question_fails(self, jitter: float) -> None:
        self.step(QuestionFailed(jitter))

    @rule()
    def the_operator_opens(self) -> None:
        self.step(ForcedOpen())
        self.not_before_ms = 0

    @invariant()
    def what_flies_is_counted(self) -> None:
        assert self.gate.in_flight == self.in_flight.count(self.gate.epoch)
        if self.gate.state is GateState.PROBING:
            assert self.gate.in_flight == 1
        if self.gate.state is GateState.RAMP:
            assert self.gate.in_flight <= self.gate.width


TestGateMachine = GateMachine.TestCase
