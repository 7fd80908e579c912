"""Carries a granted read to its market and books what came of it: with the gate, the budget and the clocks.

A read that was sent is never cancelled by who asked for it: the courier owns its task to the end.
"""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus

from mdcache.clock import Clock
from mdcache.errors import AskFailed, BrokenBody, MdcacheError
from mdcache.events import Events, UpstreamCalled
from mdcache.exchange.limits import usage_is_sound, used_weight
from mdcache.exchange.markets import Family, Market
from mdcache.upstream import verdicts
from mdcache.upstream.budget import Charge
from mdcache.upstream.clocksync import ExchangeClocks
from mdcache.upstream.desk import Desk
from mdcache.upstream.gateevents import Answered
from mdcache.upstream.pauses import Reason
from mdcache.upstream.reads import Instant, Reply, Wire
from mdcache.upstream.rest import Rest
from mdcache.upstream.tickets import Ticket
from mdcache.upstream.verdicts import Head


class Courier:
    """Sends for all desks. `dispatch` returns at once; the ticket's future gets the `Reply` or the error."""

    def __init__(self, *, clock: Clock, events: Events, clocks: ExchangeClocks, rests: Mapping[Market, Rest]) -> None:
        self._clock = clock
        self._events = events
        self._clocks = clocks
        self._rests = rests
        self._tasks: set[asyncio.Task[None]] = set()
        self.desks: Mapping[Family, Desk] = {}

    def dispatch(self, ticket: Ticket) -> None:
        """Start carrying a granted ticket."""
        task = asyncio.create_task(self._carry(ticket), name=f"read of {ticket.read.market.value}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """End the reads under way; who waits for one is cancelled."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _carry(self, ticket: Ticket) -> None:
        desk = self.desks[ticket.read.market.family]
        trip = _Trip(ticket, desk, self._clocks, self._clock)
        outcome: Reply | Exception | None = None
        try:
            outcome = await trip.run(self._rests[ticket.read.market])
        except Exception as error:  # noqa: BLE001 - whatever it is goes to who waits for it
            outcome = error
        finally:
            if outcome is None:  # cancelled: only `aclose` does that
                ticket.future.cancel()
            self._events.emit(trip.event(outcome))
            desk.landed(ticket)
        if ticket.future.done():
            return
        if isinstance(outcome, Exception):
            ticket.future.set_exception(outcome)
        elif outcome is not None:
            ticket.future.set_result(outcome)


class _Trip:
    """One request and its reply; its outcome is booked exactly once."""

    def __init__(self, ticket: Ticket, desk: Desk, clocks: ExchangeClocks, clock: Clock) -> None:
        if ticket.wire is None or ticket.charge is None:
            raise ValueError("the ticket was not granted")
        self._market = ticket.read.market
        self._ticket = ticket
        self._wire: Wire = ticket.wire
        self._charge: Charge = ticket.charge
        self._desk = desk
        self._clocks = clocks
        self._clock = clock
        self._sent = clocks.now(self._market)
        self._sent_s = clock.now()
        self._received: Instant | None = None
        self._received_s = self._sent_s
        self._date_sound = True
        self._settled = self._told = False
        self._head: Head | None = None
        self._bytes = 0

    async def run(self, rest: Rest) -> Reply:
        """The whole reply of a 200; raises what everything else means."""
        try:
            head, body = await rest.get(self._wire, self._on_head)
            self._bytes = len(body)
            return self._judge(head, body)
        finally:
            self.cut()

    def cut(self) -> None:
        """Book what is not booked yet, once it is over however it ended: no gate may wait for it for ever."""
        if not self._settled:
            self._settle(None, None)
        if not self._told:
            self._told = True
            self._desk.gatekeeper.dropped(self._ticket.epoch)

    def event(self, outcome: Reply | Exception | None) -> UpstreamCalled:
        """What happened, for the sinks."""
        read = self._ticket.read
        return UpstreamCalled(
            market=self._market.value,
            endpoint=read.endpoint,
            path=self._wire.path,
            reason=read.reason,
            lane=read.turn.lane.value,
            status=self._head.status if self._head is not None else 0,
            fault=_fault(outcome),
            weight=self._wire.weight,
            body_bytes=self._bytes,
            seconds=self._clock.now() - self._sent_s,
        )

    def _on_head(self, head: Head) -> None:
        """In the step that reads the status: close the gate if it says so, and book the usage."""
        self._head = head
        self._received, self._received_s = self._clocks.now(self._market), self._clock.now()
        reason = verdicts.gate_reason(head.status)
        stated_ms = verdicts.stated_wait_ms(head, b"", self._received.ms)
        body_pending = reason is Reason.BAN and stated_ms is None
        if reason is not None:  # before anything else of this reply is looked at: whatever it holds, it is shut
            self._told = True
            self._desk.gatekeeper.refused(self._ticket.epoch, reason, stated_ms, body_pending=body_pending)
        usage = used_weight(head.headers) if usage_is_sound(self._wire.path) else None
        self._settle(usage, self._received_s - self._sent_s)
        self._date_sound = self._clocks.notice(
            self._market, verdicts.date_ms(head), verdicts.age_s(head), self._sent_s, self._received_s
        )
        if reason is not None and not body_pending:
            self._desk.pump()

    def _settle(self, usage: int | None, trip_s: float | None) -> None:
        self._settled = True
        self._desk.settle(self._ticket, self._charge, usage, trip_s)

    def _answered(self) -> None:
        self._told = True
        self._desk.gatekeeper.step(Answered(self._ticket.epoch))

    def _judge(self, head: Head, body: bytes) -> Reply:
        if head.status == HTTPStatus.OK:
            return self._reply(head, body)
        if (reason := verdicts.gate_reason(head.status)) is not None:
            if reason is Reason.BAN:  # its body may name a later end than its Retry-After
                utc_ms = self._clocks.now(self._market).ms
                stated_ms = verdicts.stated_wait_ms(head, body, utc_ms)
                self._desk.gatekeeper.refused(self._ticket.epoch, reason, stated_ms)
            raise self._desk.gatekeeper.closed_error()
        error = verdicts.failure(head, body)
        if isinstance(error, AskFailed):
            self.cut()
        else:
            self._answered()
        raise error

    def _reply(self, head: Head, body: bytes) -> Reply:
        if not verdicts.is_binance(body):
            self.cut()
        else:
            self._answered()
        as_of_ms = verdicts.as_of_ms(head, self._sent.ms)
        return Reply(
            body=body,
            sent=Instant(as_of_ms, self._sent.error_ms),
            received=self._received or self._sent,
            settles=self._date_sound and not self._clocks.doubted(self._market),
            rtt_s=self._received_s - self._sent_s,
            sent_s=self._sent_s,
            date_ms=verdicts.date_ms(head),
        )


def _fault(outcome: Reply | Exception | None) -> str:
    match outcome:
        case Reply():
            return ""
        case None:
            return "cancelled"
        case BrokenBody() | AskFailed():
            return outcome.reason
        case MdcacheError():
            return ""
        case _:
            return type(outcome).__name__
