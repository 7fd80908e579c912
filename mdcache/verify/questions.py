"""Ask one family of markets one question at a time (at closes, one per market), and see what each was charged.

Nothing is sent into a closed gate, beyond the allowance, while the address uses more than its share, or after the first
refusal (403, 418, 429, 451). Rule: docs/design.md#verify.
"""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from mdcache.clock import Clock
from mdcache.errors import UpstreamFailed
from mdcache.exchange.markets import Family, Market
from mdcache.exchange.rate_limits import used_weight
from mdcache.upstream.http_client import MarketClient
from mdcache.upstream.models import UpstreamRequest
from mdcache.upstream.reply_head import ReplyHead
from mdcache.upstream.reply_status import CAUSES, closure_reason
from mdcache.upstream.streams.ports import HandshakeGate
from mdcache.verify.allowance import Allowance, WeightClass
from mdcache.verify.exchange_time import MINUTE_MS, MeasuredTime
from mdcache.verify.findings import NotMeasured
from mdcache.verify.reply_seen import ReplySeen

_OK, _SERVER_ERROR = 200, 500
_MAX_BYTES, _MAX_LIST_BYTES = 32 << 20, 1 << 20  # of an exchangeInfo, and of anything else
_JSON = {b"[", b"{"}  # how a body in JSON begins
_EVERY_S = 0.05  # between two questions to one family
_FAILURES = 2  # questions in a row without an answer, after which the market is given up
_REPEATED = 3  # classes of questions that were asked more than once


@dataclass(slots=True)
class _Host:
    """A market's host: how many questions in a row had no answer, and why it is asked no more."""

    failures: int = 0
    lost: str = ""


@dataclass(slots=True)
class _Usage:
    """The last usage that the family's header showed, by which market's host, and in which minute."""

    market: Market | None = None
    minute: int = 0
    used: int = 0


@dataclass(slots=True)
class Questions:
    """The questions to one family.

    `share`: the part of `limit` that the whole address may use while we ask. `stopped`: why nothing more is asked, or
    empty. `refused`: whether the exchange itself refused to be asked in this run.
    """

    family: Family
    clients: Mapping[Market, MarketClient]
    gate: HandshakeGate
    allowance: Allowance
    time: MeasuredTime
    clock: Clock
    share: float
    second_host: MarketClient | None = None
    limit: int | None = None
    stopped: str = ""
    refused: bool = False
    busy: list[tuple[float, float]] = field(default_factory=list)  # exchange time in which only closes are asked for
    charges: dict[WeightClass, list[int]] = field(default_factory=dict)  # of answers, by class
    refusal_charges: dict[Market, list[int]] = field(default_factory=dict)
    longest: dict[Market, ReplySeen] = field(default_factory=dict)
    shows_usage: dict[Market, bool] = field(default_factory=dict)  # of the last reply
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _hosts: dict[Market, _Host] = field(default_factory=dict)
    _shown: _Usage = field(default_factory=_Usage)
    _last_s: float = -math.inf
    _at_close: int = 0  # questions about closes that are not answered yet
    _closes: int = 0  # all of them

    async def ask(
        self,
        market: Market,
        path: str,
        query: str = "",
        *,
        weight: int,
        headers: tuple[tuple[str, str], ...] = (),
        extra: bool = False,
        at_close: bool = False,
        second_host: bool = False,
    ) -> ReplySeen:
        """Ask one question.

        Args:
            market: whose host is asked.
            path: the whole path.
            query: without `?`.
            weight: its documented weight.
            headers: further headers.
            extra: whether it is beyond those planned.
            at_close: whether it reads a close, and is therefore sent at once.
            second_host: whether spot's second host is asked.

        Raises:
            NotMeasured: it may not be asked, or was not answered.
        """
        client = self.second_host if second_host else self.clients[market]
        if client is None:
            raise NotMeasured("this upstream has no second host")
        most = _MAX_BYTES if path.endswith("exchangeInfo") else _MAX_LIST_BYTES
        request = UpstreamRequest(path, query, headers, weight, most)
        if at_close:  # all markets close at the same moment, so that charges can't be told apart then
            self._at_close += 1
            self._closes += 1
            try:
                return await self._ask(market, request, client, extra=extra)
            finally:
                self._at_close -= 1
        await self._wait_while_busy()
        async with self._turn:
            await self.clock.sleep(self._last_s + _EVERY_S - self.clock.now())
            return await self._ask(market, request, client, extra=extra)

    def is_lost(self, market: Market) -> bool:
        """Return whether nothing more is asked of this market."""
        return bool(self.stopped or (market in self._hosts and self._hosts[market].lost))

    @property
    def alone(self) -> bool:
        """Whether nobody else seems to use the address: repeated questions were always charged the same."""
        repeated = [found for found in self.charges.values() if len(found) > 1]
        return len(repeated) >= _REPEATED and all(len(set(found)) == 1 for found in repeated)

    def set_limit(self, limit: int) -> None:
        """Set the family's weight a minute; of several markets' limits, the smallest counts."""
        self.limit = limit if self.limit is None else min(limit, self.limit)

    def stop(self, why: str, *, refused: bool = False) -> None:
        """Ask nothing more."""
        self.stopped = self.stopped or why
        self.refused |= refused

    async def _wait_while_busy(self) -> None:
        while True:
            now_ms = self.time.now_ms()
            until_ms = next((end for begin, end in self.busy if begin <= now_ms < end), None)
            if until_ms is None:
                return
            await self.time.sleep_until(until_ms)

    def check_gate(self) -> None:
        """Raise `NotMeasured` if nothing may be sent to this family."""
        refusal = self.gate.handshake_refusal(next(iter(self.clients)))
        if not self.stopped and refusal is not None and refusal.retry_after_s > 0:  # else the gate is due for a probe
            self.stop(f"{refusal}, for another {refusal.retry_after_s:.0f} s")
        if self.stopped:
            raise NotMeasured(self.stopped)

    def record_refusal(self, market: Market, head: ReplyHead, body: bytes) -> None:
        """Close the gate and stop, if a reply says that the exchange does not want to be asked."""
        reason = closure_reason(head, body)
        if reason is not None:
            self.gate.record_handshake(market, self.gate.handshake_epoch(market), head, body)
            closed = self.gate.handshake_refusal(market)
            wait = "" if closed is None else f", for another {closed.retry_after_s:.0f} s"
            self.stop(CAUSES[reason] + wait, refused=True)

    def _check(self, market: Market) -> None:
        self.check_gate()
        why = self._hosts.setdefault(market, _Host()).lost
        if why:
            raise NotMeasured(why)

    async def _ask(self, market: Market, request: UpstreamRequest, client: MarketClient, *, extra: bool) -> ReplySeen:
        self._check(market)
        group = weight_class(request.path, request.query)
        self.allowance.take(group, request.weight, extra=extra)
        reply = await self._send(market, request, client)
        self._learn(market, group, reply)
        return reply

    async def _send(self, market: Market, request: UpstreamRequest, client: MarketClient) -> ReplySeen:
        host, heads, no_answer = self._hosts[market], list[float](), ""
        sent_ms, sent_s, closes = self.time.now_ms(), self.clock.now(), self._closes
        alone = not self._at_close
        try:
            head, body = await client.get(request, lambda _: heads.append(self.clock.now()))
        except UpstreamFailed as error:  # only its text is kept: the error keeps what was read of a long body
            head, body, no_answer = ReplyHead(0, ()), b"", str(error)
        finally:
            self._last_s = self.clock.now()
        if not no_answer:
            self.record_refusal(market, head, body)
            if self.stopped:
                raise NotMeasured(self.stopped)
            if head.status == _OK and body.lstrip()[:1] not in _JSON:
                no_answer = "200 without JSON, as of a portal or a proxy"
        if no_answer:
            host.failures += not heads or head.status == _OK
            if host.failures >= _FAILURES:
                host.lost = f"{market.value} does not answer: {no_answer}"
            raise NotMeasured(f"no answer: {no_answer}")
        host.failures = 0
        if head.status >= _SERVER_ERROR:
            raise NotMeasured(f"answered with {head.status}")
        return ReplySeen(
            head, body, sent_ms, sent_s, heads[0], self._charged(market, head, alone=alone and closes == self._closes)
        )

    def _charged(self, market: Market, head: ReplyHead, *, alone: bool) -> int | None:
        """Return by how much the header has grown since the previous reply, if that was by this host in this minute.

        `alone`: nothing else of ours was in flight at the same time.
        """
        used, minute = used_weight(head.headers), int(self.time.now_ms()) // MINUTE_MS
        if used is None or not alone:
            self._shown = _Usage()
            return None
        before, self._shown = self._shown, _Usage(market, minute, used)
        same = before.market is market and before.minute == minute and used >= before.used
        return used - before.used if same else None

    def _learn(self, market: Market, group: WeightClass, reply: ReplySeen) -> None:
        """Record what a reply shows, and stop if the address uses more than its share."""
        answered = reply.head.status == _OK
        if reply.charged is not None:
            if answered:  # refusals may be free
                self.allowance.learn(group, reply.charged)
            found = self.charges.setdefault(group, []) if answered else self.refusal_charges.setdefault(market, [])
            found.append(reply.charged)
        if answered and len(reply.body) > len(self.longest[market].body if market in self.longest else b""):
            self.longest[market] = reply
        used = used_weight(reply.head.headers)
        self.shows_usage[market] = used is not None
        if self.limit is not None and used is not None and used > self.share * self.limit:
            self.stop(f"this address has used {used:,} of {self.limit:,} in this minute, more than its share")


def weight_class(path: str, query: str) -> WeightClass:
    """Return the questions that weigh as much as this one."""
    return WeightClass(path, "".join(parse_qs(query).get("limit", [])[-1:]))
