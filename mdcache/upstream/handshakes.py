"""Handshakes of streams and the gates: what a gate tells a handshake, and a refused handshake the gate.

A refused handshake is no read: it weighs nothing, and is nobody's probe. Rule: docs/design.md#stream-handshakes.
"""

from collections.abc import Mapping
from http import HTTPStatus

from mdcache.errors import UpstreamUnavailable
from mdcache.exchange.markets import Family, Market
from mdcache.upstream import reply_status
from mdcache.upstream.backoff import RATE_CAP_MS, ClosureReason
from mdcache.upstream.gate import GateState
from mdcache.upstream.reply_head import ReplyHead
from mdcache.upstream.scheduler import FamilyScheduler
from mdcache.upstream.stated_wait import reference_time, stated_wait_ms
from mdcache.upstream.streams.ports import HandshakeOutcome

_ADMITTING = frozenset({GateState.OPEN, GateState.RAMP})
_ALWAYS = frozenset({ClosureReason.BAN})
_ONCE = frozenset({ClosureReason.WAF, ClosureReason.RATE})
_RATE_S = 60.0  # the limit of connects is one of five minutes, and nothing says when it has room again
_LONGEST_S = RATE_CAP_MS / 1000


class Handshakes:
    """The gates of all families, as the streams see them."""

    def __init__(self, schedulers: Mapping[Family, FamilyScheduler]) -> None:
        self._schedulers = schedulers
        self._closed: dict[Market, int] = {}  # the epoch that a market's refused handshake began, until one is accepted

    def handshake_refusal(self, market: Market) -> UpstreamUnavailable | None:
        """Return why no handshake may be sent now: the gate is closed, or its probe is not answered yet."""
        keeper = self._schedulers[market.family].gate_keeper
        return None if keeper.gate.state in _ADMITTING else keeper.closed_error()

    def handshake_epoch(self, market: Market) -> int:
        """Return the gate's epoch, to be given back with what becomes of a handshake that is sent now."""
        return self._schedulers[market.family].gate_keeper.gate.epoch

    def record_handshake(self, market: Market, epoch: int, head: ReplyHead, body: bytes) -> HandshakeOutcome:
        """Tell how a handshake was answered.

        A 403 or 429 that comes again, although reads have been answered since the first one closed the gate, is about
        streams only: then they alone wait, and reads go on.
        """
        if head.status == HTTPStatus.SWITCHING_PROTOCOLS:
            self._closed.pop(market, None)
            return HandshakeOutcome()
        reason = reply_status.closure_reason(head, body)
        scheduler = self._schedulers[market.family]
        keeper = scheduler.gate_keeper
        answered_since = self._closed.get(market) == keeper.gate.epoch and keeper.gate.state in _ADMITTING
        if reason in _ONCE and answered_since:
            stated_ms = stated_wait_ms(head, body, reference_time(head, keeper.utc())) or 0
            least_s = _RATE_S if reason is ClosureReason.RATE else 0.0
            return HandshakeOutcome(wait_s=min(max(stated_ms / 1000, least_s), _LONGEST_S))
        if reason in _ALWAYS or reason in _ONCE:
            keeper.record_refusal(epoch, reason, head, body)
            self._closed[market] = keeper.gate.epoch
            scheduler.pump()
            return HandshakeOutcome(closed_gate=True)
        return HandshakeOutcome()
