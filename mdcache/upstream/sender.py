"""Send a granted read to its market, and record its outcome in the gate, the budget and the clocks.

A read that was sent is never cancelled by its caller: the sender owns its task until it ends.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus

from mdcache.background_work import cancel_all
from mdcache.clock import Clock, Instant
from mdcache.errors import InvalidBody, MdcacheError, UpstreamFailed
from mdcache.events import Events, UpstreamCalled
from mdcache.exchange.markets import Market
from mdcache.exchange.rate_limits import usage_is_reliable, used_weight
from mdcache.upstream import reply_status
from mdcache.upstream.budget import Reservation
from mdcache.upstream.exchange_clock import ExchangeClocks
from mdcache.upstream.gate_events import Answered
from mdcache.upstream.http_client import MarketClient
from mdcache.upstream.models import UpstreamReply, UpstreamRequest
from mdcache.upstream.queue import QueuedRead
from mdcache.upstream.reply_head import ReplyHead
from mdcache.upstream.scheduler import FamilyScheduler
from mdcache.upstream.stated_wait import date_ms


class Sender:
    """The sender of all schedulers."""

    def __init__(
        self, *, clock: Clock, events: Events, clocks: ExchangeClocks, clients: Mapping[Market, MarketClient]
    ) -> None:
        self._clock = clock
        self._events = events
        self._clocks = clocks
        self._clients = clients
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, scheduler: FamilyScheduler, queued: QueuedRead) -> None:
        """Start sending a granted read, and return at once. Its future gets the accepted reply or the error."""
        task = asyncio.create_task(self._run(scheduler, queued), name=f"read of {queued.market.value}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Cancel the reads in progress, and their waiters."""
        await cancel_all(*self._tasks)

    async def _run(self, scheduler: FamilyScheduler, queued: QueuedRead) -> None:
        exchange = _Exchange(queued, scheduler, self._clocks, self._clock)
        outcome: UpstreamReply | Exception | None = None
        try:
            outcome = await exchange.run(self._clients[queued.market])
        except Exception as error:  # noqa: BLE001 - raised to the waiters
            outcome = error
        finally:
            called = exchange.event(outcome)
            scheduler.finished(queued)
            rows = None
            try:
                rows = await _resolve(queued, outcome)
            finally:
                self._events.emit(replace(called, rows=rows))


class _Exchange:
    """One request and its reply; its outcome is recorded exactly once."""

    def __init__(self, queued: QueuedRead, scheduler: FamilyScheduler, clocks: ExchangeClocks, clock: Clock) -> None:
        if queued.request is None or queued.reservation is None:
            raise ValueError("the read was not granted")
        self._market = queued.read.market
        self._queued = queued
        self._request: UpstreamRequest = queued.request
        self._reservation: Reservation = queued.reservation
        self._scheduler = scheduler
        self._clocks = clocks
        self._clock = clock
        self._sent = clocks.now(self._market)
        self._sent_s = clock.now()
        self._received: Instant | None = None
        self._received_s = self._sent_s
        self._doubt_ms = 0
        self._settled = self._gate_informed = False
        self._head: ReplyHead | None = None
        self._bytes = 0

    async def run(self, client: MarketClient) -> UpstreamReply:
        """Return the reply if it is a 200; raise the error for anything else."""
        try:
            head, body = await client.get(self._request, self._on_head)
            self._bytes = len(body)
            return self._interpret(head, body)
        finally:
            self.book_failure()

    def book_failure(self) -> None:
        """Record an ended read as failed where nothing is recorded yet; otherwise a gate would wait for it for ever."""
        if not self._settled:
            self._settle(None, None)
        if not self._gate_informed:
            self._gate_informed = True
            self._scheduler.gate_keeper.record_drop(self._queued.epoch)

    def event(self, outcome: UpstreamReply | Exception | None) -> UpstreamCalled:
        """Return what happened, for the sinks."""
        read = self._queued.read
        return UpstreamCalled(
            market=self._market.value,
            endpoint=read.endpoint,
            path=self._request.path,
            reason=read.reason,
            lane=read.priority.lane.value,
            status=self._head.status if self._head is not None else 0,
            fault=_fault(outcome),
            weight=self._request.weight,
            body_bytes=self._bytes,
            seconds=self._clock.now() - self._sent_s,
            client=read.priority.client,
            subject=self._request.subject or f"{self._market.value}/{read.endpoint}",
        )

    def _on_head(self, head: ReplyHead) -> None:
        """Close the gate if the status demands it, and record the usage, in the step that reads the head."""
        self._head = head
        self._received, self._received_s = self._clocks.now(self._market), self._clock.now()
        reason, body_pending = reply_status.closure_reason(head), False
        if reason is not None:  # before anything else in this reply is read: whatever it contains, the gate is closed
            self._gate_informed = True
            body_pending = self._scheduler.gate_keeper.record_refusal(self._queued.epoch, reason, head)
        usage = used_weight(head.headers) if usage_is_reliable(self._request.path) else None
        self._settle(usage, self._received_s - self._sent_s)
        self._doubt_ms = self._clocks.check_date(
            self._market, date_ms(head), reply_status.age_s(head), self._sent_s, self._received_s
        )
        if reason is not None and not body_pending:
            self._scheduler.pump()

    def _settle(self, usage: int | None, round_trip_s: float | None) -> None:
        self._settled = True
        self._scheduler.settle(self._reservation, usage, round_trip_s)

    def _answered(self) -> None:
        self._gate_informed = self._queued.answered = True
        self._scheduler.gate_keeper.step(Answered(self._queued.epoch))

    def _interpret(self, head: ReplyHead, body: bytes) -> UpstreamReply:
        if (reason := reply_status.closure_reason(head, body)) is not None:
            if reply_status.body_tells_more(reason, head, body):
                self._gate_informed = True
                self._scheduler.gate_keeper.record_refusal(self._queued.epoch, reason, head, body)
            raise self._scheduler.gate_keeper.closed_error()
        if head.status == HTTPStatus.OK:
            return self._reply(head, body)
        error = reply_status.failure(head, body)
        if isinstance(error, UpstreamFailed):
            self.book_failure()
        else:
            self._answered()
        raise error

    def _reply(self, head: ReplyHead, body: bytes) -> UpstreamReply:
        if not reply_status.looks_like_binance(body):
            self.book_failure()
        else:
            self._answered()
        as_of_ms = reply_status.as_of_ms(head, self._sent.ms)
        return UpstreamReply(
            body=body,
            sent=Instant(as_of_ms, self._sent.error_ms),
            received=self._received or self._sent,
            doubt_ms=max(self._doubt_ms, self._clocks.doubt_ms(self._market)),
            round_trip_s=self._received_s - self._sent_s,
            sent_s=self._sent_s,
            date_ms=date_ms(head),
        )


async def _resolve(queued: QueuedRead, outcome: UpstreamReply | Exception | None) -> int | None:
    """Set the read's future; return how many rows its reply has, if it is a page of rows and was accepted."""
    if outcome is None:  # only `aclose` cancels it
        queued.future.cancel()
    elif queued.future.done():  # its waiter was cancelled
        pass
    elif isinstance(outcome, Exception):
        queued.future.set_exception(outcome)
    else:
        try:
            accepted = await queued.read.accept(outcome)
        except asyncio.CancelledError:  # only `aclose` cancels it
            queued.future.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - raised to the waiter
            if not queued.future.done():
                queued.future.set_exception(error)
        else:
            if not queued.future.done():
                queued.future.set_result(accepted.value)
            return accepted.rows
    return None


def _fault(outcome: UpstreamReply | Exception | None) -> str:
    match outcome:
        case UpstreamReply():
            return ""
        case None:
            return "cancelled"
        case InvalidBody() | UpstreamFailed():
            return outcome.reason
        case MdcacheError():
            return ""
        case _:
            return type(outcome).__name__
