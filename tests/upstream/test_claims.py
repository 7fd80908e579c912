"""A desk's claims by themselves: what becomes of those that were picked, whatever the ledger says and however late."""

import asyncio
import math
from typing import cast

import pytest

from mdcache.errors import DeadlinePassed
from mdcache.exchange.markets import Market
from mdcache.upstream.budget import Moment
from mdcache.upstream.gate import Gate, GateState
from mdcache.upstream.queue import Lane, Priority, QueueEntry, ReadQueue
from mdcache.upstream.queued_read import QueuedRead
from mdcache.upstream.replicas.claims import Claims, Pick
from mdcache.upstream.replicas.protocol import LedgerDown, Verdict
from mdcache.upstream.replicas.shared_budget import Claimed, Sharing
from tests.support.fake_exchange import FakeRead
from tests.support.family_parts import FamilyParts

pytestmark = pytest.mark.virtual

OPEN, PROBING = Gate(), Gate(state=GateState.PROBING)


class Ledger:
    """Of a `Sharing`, what claims need: it says `says` to each, after `late_s`."""

    def __init__(self, parts: FamilyParts) -> None:
        self.asks = True
        self.says: Claimed | None = None
        self.late_s = 0.1
        self.taken_back = 0
        self._clock = parts.clock

    async def claim(self, claims: tuple[tuple[int, int], ...]) -> Claimed:
        await self._clock.sleep(self.late_s)
        if self.says is None:
            raise LedgerDown("made up")
        return Claimed(self.says.verdicts * len(claims), self.says.after, self.says.told)

    def wait_ms(self, _verdict: Verdict, now: Moment) -> int:
        return now.utc_ms + 500

    def done_in(self, _minute: int) -> int:
        return 33

    def unsent(self) -> None:
        self.taken_back += 1


class Desk:
    """Picks for them, and notes what they do."""

    def __init__(self) -> None:
        self.parts = FamilyParts()
        self.parts.time.hear(self.parts.clock.true_ms(), 20, self.parts.clock.now())
        self.ledger = Ledger(self.parts)
        self.lanes: ReadQueue[QueuedRead] = ReadQueue()
        self.sent: list[QueuedRead] = []
        self.back: list[QueuedRead] = []
        self.answers = 0
        self.room = True
        self.claims = Claims(
            cast("Sharing", self.ledger),
            self.parts.keeper,
            self.parts.account,
            grant=self._grant,
            put_back=lambda place: self.back.append(place.item),
            done=self._done,
        )

    def _grant(self, pick: Pick, _now: Moment, _after: Gate) -> bool:
        if self.room:
            self.sent.append(pick.place.item)
        return self.room

    def _done(self) -> None:
        self.answers += 1

    def pick(self, weight: int = 5) -> QueuedRead:
        ticket = QueuedRead(FakeRead(cost=weight), asyncio.get_running_loop().create_future(), self.parts.clock.now())
        place: QueueEntry[QueuedRead] = self.lanes.add(ticket, Market.SPOT, Priority(Lane.NORMAL, math.inf), weight)
        self.lanes.take(place)
        self.claims.pick(place, weight)
        return ticket

    async def told(self, says: Claimed | None) -> None:
        """All that were picked are asked for, and this is said."""
        self.ledger.says = says
        self.claims.ask()
        assert self.claims.full
        await self.parts.clock.sleep(self.ledger.late_s + 0.01)
        assert not self.claims.full


GRANTED = Claimed((Verdict.GRANTED,), OPEN, told=True)


async def test_what_is_let_through_is_sent_and_knows_what_was_answered_by_then() -> None:
    desk = Desk()
    tickets = [desk.pick(), desk.pick()]
    await desk.told(GRANTED)
    assert (desk.sent, desk.back, desk.answers) == (tickets, [], 1)
    assert [ticket.done for ticket in tickets] == [33, 33]


@pytest.mark.parametrize("change", ["the minute ended", "it weighs more", "no room is left", "nobody waits"])
@pytest.mark.parametrize("after", [OPEN, PROBING])
async def test_what_was_let_through_and_is_no_longer_as_it_was_is_not_sent(change: str, after: Gate) -> None:
    """And a probe that was written for it is taken back."""

    desk = Desk()
    ticket = desk.pick()
    match change:
        case "the minute ended":
            desk.ledger.late_s = 60.0
        case "it weighs more":
            cast("FakeRead", ticket.read).cost += 1
        case "no room is left":
            desk.room = False
        case _:
            ticket.future.cancel()
    await desk.told(Claimed((Verdict.GRANTED,), after, told=True))
    waits = [] if ticket.future.cancelled() else [ticket]
    assert (desk.sent, desk.back, desk.answers) == ([], waits, 1)
    assert desk.ledger.taken_back == (after is PROBING)
    assert ticket.done is None
    assert not desk.claims.paused_until_ms(Lane.NORMAL)


async def test_who_is_not_let_through_waits_as_long_as_the_ledger_says() -> None:
    desk = Desk()
    ticket = desk.pick()
    await desk.told(Claimed((Verdict.SOON,), PROBING, told=True))
    assert (desk.sent, desk.back, desk.ledger.taken_back) == ([], [ticket], 0)
    assert desk.claims.paused_until_ms(Lane.NORMAL) > desk.parts.account.moment().utc_ms
    assert desk.claims.paused_until_ms(Lane.HIGH) == 0


@pytest.mark.parametrize("says", [None, Claimed((Verdict.SOON,), OPEN)])
async def test_after_four_claims_in_vain_there_is_a_pause_before_each(says: Claimed | None) -> None:
    desk = Desk()
    for count in range(1, 6):
        desk.pick()
        await desk.told(says)
        paused = desk.claims.paused_until_ms(Lane.NORMAL) > desk.parts.account.moment().utc_ms
        assert paused is (count > 3), count
    assert len(desk.back) == desk.answers == 5
    desk.pick()
    await desk.told(GRANTED)  # looked at: it begins anew
    await desk.parts.clock.sleep(1.0)
    desk.pick()
    await desk.told(says)
    assert desk.claims.paused_until_ms(Lane.NORMAL) < desk.parts.account.moment().utc_ms


async def test_a_closed_gate_lets_one_be_picked_at_a_time() -> None:
    desk = Desk()
    desk.pick()
    assert not desk.claims.full
    desk.parts.keeper.gate = PROBING
    assert desk.claims.full


async def test_closing_refuses_all_that_were_picked_and_asks_no_more() -> None:
    desk = Desk()
    asked = desk.pick()
    desk.ledger.says = GRANTED
    desk.claims.ask()
    await desk.parts.clock.sleep(0.01)
    desk.claims.close(DeadlinePassed(1.0, "the daemon stops"))
    await desk.parts.clock.sleep(1.0)
    assert isinstance(asked.future.exception(), DeadlinePassed)
    assert (desk.sent, desk.back, desk.answers) == ([], [], 0)
