"""Random lives of a gate, by themselves: pure values, no loop."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mdcache.upstream.backoff import ClosureReason, Denied
from mdcache.upstream.gate import Gate, GateDecision, GateState, decide, step
from mdcache.upstream.gate_events import Answered, Dropped, ForcedOpen, GateEvent, QuestionFailed, Sent
from tests.support.gates import POLICY, T0


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
            self.step(Denied(epoch, ClosureReason(how), stated, 30_000, jitter))
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
