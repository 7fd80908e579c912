"""The budget that replicas share, in memory: Redis' own scripts, and a way to it that may fail in any way."""

from collections.abc import Awaitable, Callable

from mdcache.stores.redis.budget import gate_args, gate_from, reply_from, request_args
from mdcache.upstream.replicas.protocol import BudgetStoreDown, DrawReply, DrawRequest, GateReply
from tests.support.redis_scripts import FakeRedis

CHANNEL = "gates"


class BudgetServer(FakeRedis):
    """One server, with what subscribes to it."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        super().__init__(now_ms)
        self.subscribers: list[Callable[[str, int, str], None]] = []
        self.drops_messages = False

    def _publish(self, _channel: bytes, message: bytes) -> int:
        family, version, text = message.decode().split(" ", 2)
        for subscriber in () if self.drops_messages else tuple(self.subscribers):
            subscriber(family, int(version), text)
        return len(self.subscribers)


class MemorySharedBudget:
    """A replica's way to the budget of a family. `wait` comes before each message, `wait_after_write` after a gate."""

    def __init__(self, server: BudgetServer, family: str, replica: str) -> None:
        self.up = True
        self.lose_answers = False
        self.wait: Callable[[], Awaitable[None]] | None = None
        self.wait_after_write: Callable[[], Awaitable[None]] | None = None
        self.draw_now: Callable[[DrawRequest], DrawReply] = self._draw_now  # whatever the way is like
        self._server = server
        self._family = family
        self._replica = replica
        self.listens = True
        self._keys = [f"{kind}:{family}".encode() for kind in ("budget", "gate")]

    async def draw(self, request: DrawRequest) -> DrawReply:
        """Report and draw."""
        await self._go()
        reply = self.draw_now(request)
        self._come_back()
        return reply

    def _draw_now(self, request: DrawRequest) -> DrawReply:
        return reply_from(self._server.eval("draw", self._keys, request_args(self._replica, request)))

    def rename(self) -> None:
        """Go on under another id."""
        self._replica += "'"

    async def write_gate(self, version: int, text: str) -> GateReply:
        """Write the gate."""
        await self._go()
        reply = gate_from(self._server.eval("gate", self._keys[1:], gate_args(version, text, CHANNEL, self._family)))
        self._come_back()
        if self.wait_after_write is not None:
            await self.wait_after_write()
        return reply

    def subscribe(self, on_gate: Callable[[int, str], None]) -> None:
        """Subscribe to gates that others write."""

        def on_message(family: str, version: int, text: str) -> None:
            if family == self._family and self.up and self.listens:
                on_gate(version, text)

        self._server.subscribers.append(on_message)

    async def _go(self) -> None:
        if self.wait is not None:
            await self.wait()
        if not self.up:
            raise BudgetStoreDown("made up")

    def _come_back(self) -> None:
        if self.lose_answers:
            raise BudgetStoreDown("the answer was lost")
