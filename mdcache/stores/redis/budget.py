"""A family's budget and gate in Redis, for `upstream/replicas/protocol.py`: two keys, two scripts."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from mdcache.store_events import StoreOp
from mdcache.stores.redis.client import RedisClient, RedisDown
from mdcache.stores.redis.replica_id import ReplicaId
from mdcache.stores.redis.scripts import load
from mdcache.upstream.replicas.protocol import (
    BudgetStoreDown,
    Displaced,
    DrawReply,
    DrawRequest,
    GateReply,
    MinuteReply,
)

_T = TypeVar("_T")
_LIFE_MS = 4 * 86_400_000  # longer than the longest ban, for replicas that start during it
_HEAD, _MINUTE = 12, 5  # the number of fields of a reply, and of each minute in it


class GateChannel:
    """The channel on which the replicas of one egress publish their gates: one subscription for all families.

    `listens`: whether the subscription stands.
    """

    def __init__(self, link: RedisClient, egress: str) -> None:
        self.name = f"{link.prefix}gates:{egress}"
        self.listens = False
        self._link = link
        self._subscribers: dict[bytes, Callable[[int, str], None]] = {}

    def subscribe(self, family: str, on_gate: Callable[[int, str], None]) -> None:
        """Call `on_gate(version, text)` with each gate published for a family."""
        if not self._subscribers:
            self._link.subscribe(self.name, self._on_message, self._subscribed, self._ended)
        self._subscribers[family.encode()] = on_gate

    def _subscribed(self) -> None:
        self.listens = True

    def _ended(self) -> None:
        self.listens = False

    def _on_message(self, message: bytes) -> None:
        family, _, rest = message.partition(b" ")
        version, _, text = rest.partition(b" ")
        if (on_gate := self._subscribers.get(family)) is not None and version.isdigit():
            on_gate(int(version), text.decode(errors="replace"))


class RedisBudget:
    """The budget and gate of one egress and family, for one replica."""

    def __init__(self, link: RedisClient, channel: GateChannel, egress: str, family: str, replica: ReplicaId) -> None:
        self._link = link
        self._channel = channel
        self._keys = [f"{link.prefix}{kind}:{{{egress}:{family}}}" for kind in ("budget", "gate")]
        self._family = family
        self._replica = replica
        self._id = replica.own
        self._draw = load("draw")
        self._gate = load("gate")

    @property
    def up(self) -> bool:
        """Whether Redis is likely to answer."""
        return self._link.up

    @property
    def listens(self) -> bool:
        """Whether what other replicas write of the gate is announced here."""
        return self._channel.listens

    async def draw(self, request: DrawRequest) -> DrawReply:
        """Report and draw, in one step; raises `BudgetStoreDown`, and `Displaced`."""
        args = request_args(self._id, request)
        return await self._run(StoreOp.DRAW, lambda client: self._draw.run(client, self._keys, args), reply_from)

    def rename(self) -> None:
        """Continue with a new id, or the one that another family already uses."""
        if self._id == self._replica.own:
            self._replica.renew()
        self._id = self._replica.own

    async def write_gate(self, version: int, text: str) -> GateReply:
        """Write the gate if its version is still `version`; raises `BudgetStoreDown`."""
        args = gate_args(version, text, self._channel.name, self._family)
        return await self._run(StoreOp.GATE, lambda client: self._gate.run(client, self._keys[1:], args), gate_from)

    def subscribe(self, on_gate: Callable[[int, str], None]) -> None:
        """Call `on_gate(version, text)` soon after another replica has written the gate."""
        self._channel.subscribe(self._family, on_gate)

    async def _run(self, op: StoreOp, work: Callable[[Any], Awaitable[Any]], read: Callable[[Any], _T]) -> _T:
        try:
            return read(await self._link.call(op, work))
        except RedisDown as error:
            raise BudgetStoreDown(str(error)) from error
        except (ValueError, TypeError, IndexError) as error:
            raise BudgetStoreDown(f"the reply can't be read: {error}") from error


def request_args(replica: str, request: DrawRequest) -> list[bytes | str | int]:
    """Return the arguments of `draw.lua`."""
    args: list[bytes | str | int] = [
        replica,
        request.kind.value,
        request.seq,
        request.now_ms,
        request.allowed,
        request.limit,
        request.part,
        request.replicas,
        request.born,
        request.assumed,
        int(request.returning),
        request.process,
        request.error_ms,
        int(request.enters),
        request.gate_version,
        request.rank,
        _LIFE_MS,
    ]
    for each in request.minutes:
        args += [each.minute, each.drawn, int(each.entered), each.first, each.need, each.extra, each.header]
    return args


def reply_from(raw: list[Any]) -> DrawReply:
    """Parse the reply of `draw.lua`; raise `Displaced` if it refused."""
    if not raw:
        raise Displaced("another process has this replica's id")
    shared, born, part, since, replicas, limit, utc_ms, error_ms, version, new, age_ms = map(int, raw[: _HEAD - 1])
    minutes = tuple(
        MinuteReply(minute, drawn, bool(entered), total, header)
        for minute, drawn, entered, total, header in (
            map(int, raw[at : at + _MINUTE]) for at in range(_HEAD, len(raw), _MINUTE)
        )
    )
    gate = GateReply(version, _text(raw[_HEAD - 1]), bool(new), age_ms)
    return DrawReply(bool(shared), born, part, since, replicas, limit, utc_ms, error_ms, gate, minutes)


def gate_args(version: int, text: str, channel: str, family: str) -> list[bytes | str | int]:
    """Return the arguments of `gate.lua`."""
    return [version, text, _LIFE_MS, channel, f"{family} "]


def gate_from(raw: list[Any]) -> GateReply:
    """Parse the reply of `gate.lua`."""
    written, version, new, text, age_ms = raw
    return GateReply(int(version), _text(text), bool(new), int(age_ms), written=bool(written))


def _text(raw: object) -> str:
    return raw.decode(errors="replace") if isinstance(raw, bytes) else ""
