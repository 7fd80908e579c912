"""Open connections, when the pace and the gate allow it, and report to both how that went."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus

from mdcache.clock import Clock
from mdcache.errors import TransportFailed
from mdcache.events import Events
from mdcache.exchange.markets import Market
from mdcache.stream_events import ConnectReason, StreamConnected, StreamRefused
from mdcache.upstream.reply_head import ReplyHead
from mdcache.upstream.streams.connect_pace import ConnectPace
from mdcache.upstream.streams.ports import Dialing, HandshakeRefused, StreamConnection
from mdcache.upstream.timer import Timer

_LOOK_AGAIN_S = 1.0  # at a closed gate, and at what else may have changed
_UPGRADED = ReplyHead(HTTPStatus.SWITCHING_PROTOCOLS, ())


class ConnectFailed(Exception):
    """The connection could not be opened. `status`: of the answer, 0 if there was none."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


@dataclass(eq=False, slots=True)
class _Waiting:
    """A connect that waits for its turn."""

    market: Market
    planned: bool
    turn: asyncio.Future[None] = field(default_factory=asyncio.Future)


class Dialer:
    """Opens the connections of all markets; those that have waited longest come first.

    `alive()`: whether frames come on any connection.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        rng: random.Random,
        events: Events,
        dialing: Dialing,
        alive: Callable[[], bool],
    ) -> None:
        self.pace = ConnectPace()
        self._clock = clock
        self._rng = rng
        self._events = events
        self._dialing = dialing
        self._gate = dialing.gate
        self._alive = alive
        self._waiting: list[_Waiting] = []
        self._timer = Timer(clock, self._pump)

    async def open(self, market: Market, base_url: str, path: str, reason: ConnectReason) -> StreamConnection:
        """Return an open connection; raise `ConnectFailed`. A planned one waits until there is no trouble."""
        await self._begin(market, planned=reason is ConnectReason.PLANNED)
        epoch, began_s = self._gate.handshake_epoch(market), self._clock.now()
        try:
            async with asyncio.timeout(self._dialing.timeout_s):
                connection = await self._dialing.connect(base_url.rstrip("/") + path)
        except HandshakeRefused as refused:
            raise self._refused(market, epoch, refused) from refused
        except (TransportFailed, TimeoutError) as error:
            raise self._unanswered(market, str(error) or f"no answer in {self._dialing.timeout_s:g} s") from error
        except asyncio.CancelledError:
            self.pace.cancelled(market)
            raise
        except Exception as error:
            self._unanswered(market, f"{type(error).__name__}: {error}")
            raise
        else:
            self.pace.succeeded(market)
            self._gate.record_handshake(market, epoch, _UPGRADED, b"")
            self._events.emit(StreamConnected(market.value, reason, path, self._clock.now() - began_s))
            return connection
        finally:
            self._pump()

    def refusal(self, market: Market) -> str | None:
        """Return why no connection may be opened now: the gate is closed."""
        refusal = self._gate.handshake_refusal(market)
        return None if refusal is None else str(refusal)

    def lost(self, market: Market) -> None:
        """Record that a connection was lost."""
        self.pace.lost(market, self._clock.now(), self._rng.random())

    def proven(self, market: Market) -> None:
        """Record that frames have come on a connection for a few seconds."""
        self.pace.proven(market, self._clock.now())
        self._pump()

    def aclose(self) -> None:
        """Stop the timer."""
        self._timer.set(float("inf"))

    async def _begin(self, market: Market, *, planned: bool) -> None:
        """Wait until this process may connect, and its address may, too."""
        while True:
            await self._turn(market, planned=planned)
            try:
                wait_s = await self._dialing.quota.take(planned=planned)
            except asyncio.CancelledError:
                self.pace.cancelled(market)
                raise
            if wait_s <= 0:
                return
            self.pace.cancelled(market)
            self._pump()
            await self._clock.sleep(wait_s)

    async def _turn(self, market: Market, *, planned: bool) -> None:
        waiting = _Waiting(market, planned)
        self._waiting.append(waiting)
        self._pump()
        try:
            await waiting.turn
        except asyncio.CancelledError:
            if waiting.turn.done() and not waiting.turn.cancelled():
                self.pace.cancelled(market)
            raise
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)

    def _pump(self) -> None:
        """Give every turn that is due, and come back when the next one may be."""
        now_s = self._clock.now()
        next_s = float("inf")
        for waiting in list(self._waiting):
            wait_s = self._wait_s(waiting, now_s)
            if wait_s > 0:
                next_s = min(next_s, wait_s)
                continue
            self._waiting.remove(waiting)
            if not waiting.turn.done():
                self.pace.begin(waiting.market, now_s, self._rng.random())
                waiting.turn.set_result(None)
        self._timer.set(now_s + min(next_s, _LOOK_AGAIN_S) if self._waiting else float("inf"))

    def _wait_s(self, waiting: _Waiting, now_s: float) -> float:
        if self._gate.handshake_refusal(waiting.market) is not None:
            return _LOOK_AGAIN_S
        return self.pace.wait_s(waiting.market, now_s, planned=waiting.planned)

    def _refused(self, market: Market, epoch: int, refused: HandshakeRefused) -> ConnectFailed:
        outcome = self._gate.record_handshake(market, epoch, refused.head, refused.body)
        # as if there were no streams: no passing trouble
        forbidden = refused.head.status < HTTPStatus.INTERNAL_SERVER_ERROR
        self.pace.refused(market, self._clock.now(), self._rng.random(), forbidden=forbidden, wait_s=outcome.wait_s)
        failed = ConnectFailed(refused.head.status, f"handshake refused with {refused.head.status}")
        self._events.emit(StreamRefused(market.value, failed.status, str(failed), outcome.closed_gate))
        return failed

    def _unanswered(self, market: Market, detail: str) -> ConnectFailed:
        self.pace.unanswered(market, self._clock.now(), self._rng.random(), alive=self._alive())
        self._events.emit(StreamRefused(market.value, 0, detail))
        return ConnectFailed(0, detail)
