"""A desk's claims: reads that are picked from the queue and may go once the replicas' ledger lets them.

One message asks for all that were picked; until its answer nobody else is. Who is not let through waits again.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from mdcache.errors import UpstreamUnavailable
from mdcache.upstream.budget import MINUTE_MS, Moment
from mdcache.upstream.budget_keeper import BudgetKeeper
from mdcache.upstream.gate import Gate, GateState
from mdcache.upstream.gate_keeper import GateKeeper
from mdcache.upstream.queue import Lane, QueueEntry
from mdcache.upstream.queued_read import QueuedRead
from mdcache.upstream.replicas.protocol import LedgerDown, Verdict
from mdcache.upstream.replicas.shared_budget import Claimed, Sharing

_UNTOLD, _AGAIN_MS = 3, 100  # a gate that many write: after so many claims in vain, a pause before each


@dataclass(frozen=True, slots=True)
class Pick:
    """A read that left its lane, and the weight that is asked for."""

    place: QueueEntry[QueuedRead]
    weight: int


class Claims:
    """One family's claims. `sharing` is `None` where there are no other replicas: then none is ever needed.

    `grant(pick, now, after)` sends a read and returns whether it could; `after` is the gate once it is sent.
    `put_back` returns one to its lane; `done` is called after each answer.
    """

    def __init__(
        self,
        sharing: Sharing | None,
        gatekeeper: GateKeeper,
        account: BudgetKeeper,
        *,
        grant: Callable[[Pick, Moment, Gate], bool],
        put_back: Callable[[QueueEntry[QueuedRead]], None],
        done: Callable[[], None],
    ) -> None:
        self._sharing = sharing
        self._gatekeeper = gatekeeper
        self._account = account
        self._grant = grant
        self._put_back = put_back
        self._done = done
        self._picks: list[Pick] = []
        self._asking: asyncio.Task[None] | None = None
        self._unheard = 0  # claims in a row that nobody looked at
        self._pauses_ms: dict[Lane, int] = {}

    @property
    def needed(self) -> bool:
        """Whether a read has to be asked for."""
        return self._sharing is not None and self._sharing.asks

    @property
    def full(self) -> bool:
        """Whether no more may be picked: they are being asked for, or the gate lets through one by one."""
        return self._asking is not None or (bool(self._picks) and self._gatekeeper.gate.state is not GateState.OPEN)

    def paused_until_ms(self, lane: Lane) -> int:
        """Exchange time before which the lane need not ask again; 0 where it may."""
        until_ms, now = self._pauses_ms.get(lane, 0), self._account.moment()
        longest_ms = MINUTE_MS + now.error_ms  # more than that is of a clock that was put right since
        return until_ms if until_ms - now.utc_ms <= longest_ms else 0

    def pick(self, place: QueueEntry[QueuedRead], weight: int) -> None:
        """Ask for this one too, in the next message."""
        self._picks.append(Pick(place, weight))

    def ask(self) -> None:
        """Ask for what was picked, behind."""
        if self._picks and self._asking is None and self._sharing is not None:
            self._asking = asyncio.create_task(self._ask(self._sharing), name="claim of reads")

    def reported(self, ticket: QueuedRead, usage: int) -> None:
        """Binance told of so much usage in reply to a read; where it was claimed, the others' part is in it."""
        if self._sharing is not None and ticket.done is not None and ticket.reservation is not None:
            self._sharing.reported(ticket.reservation.sent_at.number, usage, ticket.done)

    def close(self, error: UpstreamUnavailable) -> None:
        """Refuse all that were picked."""
        for pick in self._picks:
            if not pick.place.item.future.done():
                pick.place.item.future.set_exception(error)
        if self._asking is not None:
            self._asking.cancel()

    # ------------------------------------------------------------------------------------ parts

    async def _ask(self, sharing: Sharing) -> None:
        """Without the ledger all wait again, and our own part decides."""
        picks, gate, minutes = self._picks, self._gatekeeper.gate, self._account.moment().minutes
        try:
            claimed = await sharing.claim(tuple((pick.weight, pick.place.lane.rank) for pick in picks))
        except LedgerDown:
            claimed = Claimed((Verdict.SOON,) * len(picks), gate)
        finally:
            self._picks, self._asking = [], None
        self._unheard = 0 if claimed.told else self._unheard + 1
        now = self._account.moment()
        as_asked = set(now.minutes) <= set(minutes)
        for pick, verdict in zip(picks, claimed.verdicts, strict=True):
            granted = verdict is Verdict.GRANTED
            if not (granted and as_asked and self._sent(sharing, pick, now, claimed.after)):
                self._fail(sharing, pick, verdict, now, claimed)
        self._done()

    def _sent(self, sharing: Sharing, pick: Pick, now: Moment, after: Gate) -> bool:
        """Send it, if it still is what was asked for and there is still room."""
        ticket = pick.place.item
        if ticket.future.done() or ticket.read.weight() > pick.weight or not self._grant(pick, now, after):
            return False
        ticket.done = sharing.done_in(now.number)
        return True

    def _fail(self, sharing: Sharing, pick: Pick, verdict: Verdict, now: Moment, claimed: Claimed) -> None:
        """It was not let through, or could not be sent: it waits again, if anybody waits for it."""
        lane = pick.place.lane
        if verdict is Verdict.GRANTED and claimed.after.state is not GateState.OPEN:
            sharing.unsent()
        if verdict is not Verdict.GRANTED and claimed.told:
            self._pauses_ms[lane] = sharing.wait_ms(verdict, now)
        elif self._unheard > _UNTOLD:
            self._pauses_ms[lane] = now.utc_ms + _AGAIN_MS
        if not pick.place.item.future.done():
            self._put_back(pick.place)
