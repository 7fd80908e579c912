"""A family's shared budget in Redis: one key, changed by one script (theory: `upstream/replicas/protocol.py`)."""

from dataclasses import asdict

import msgspec

from mdcache.events import StoreOp
from mdcache.stores.redis.client import RedisClient, RedisDown
from mdcache.stores.redis.scripts import load
from mdcache.upstream.replicas.protocol import Answer, Ask, LedgerDown, Told, Verdict

_LIFE_MS = 4 * 86_400_000  # longer than the longest ban, for those that start into it


class _Told(msgspec.Struct):
    minute: int
    total: int
    done: int
    own: int
    heard: int
    before: tuple[int, int, int]


class _Answer(msgspec.Struct):
    sharing: bool
    part: int
    next_part: int
    peers: int
    version: int
    written: bool
    crowded: bool
    limit: int
    time: int
    error: int
    told: list[_Told]
    verdicts: list[int] | dict[str, int]  # Lua has one empty table for both
    gate: str | None = None
    quiet: bool = False


class RedisLedger:
    """The ledger of one egress and family, for one replica."""

    def __init__(self, link: RedisClient, egress: str, family: str, replica: str) -> None:
        self._link = link
        self._key = f"{link.prefix}ledger:{{{egress}:{family}}}"
        self._replica = replica
        self._step = load("ledger")

    @property
    def up(self) -> bool:
        """Whether Redis is likely to answer."""
        return self._link.up

    async def ask(self, ask: Ask) -> Answer:
        """Tell and claim; raises `LedgerDown`."""
        plain = asdict(ask)
        if ask.gate is None:
            del plain["gate"]
        raw = await self._run(StoreOp.CLAIM, msgspec.json.encode(plain), ask.now_ms)
        try:
            return _answer(msgspec.json.decode(raw, type=_Answer), len(ask.claims))
        except (msgspec.MsgspecError, ValueError) as error:
            raise LedgerDown(f"the ledger's answer can't be read: {error}") from error

    async def goodbye(self, now_ms: int) -> None:
        """Give up the part; where Redis does not answer, it is kept for ten minutes."""
        try:
            await self._run(StoreOp.LEAVE, b"", now_ms)
        except LedgerDown:
            return  # the link told

    async def _run(self, op: StoreOp, message: bytes, now_ms: int) -> bytes:
        args: list[bytes | str | int] = [self._replica, message, now_ms, _LIFE_MS]
        try:
            raw = await self._link.call(op, lambda client: self._step.run(client, [self._key], args))
        except RedisDown as error:
            raise LedgerDown(str(error)) from error
        if not isinstance(raw, bytes):
            raise LedgerDown("the ledger's answer is no text")
        return raw


def _answer(found: _Answer, claims: int) -> Answer:
    verdicts = tuple(Verdict(said) for said in found.verdicts) if isinstance(found.verdicts, list) else ()
    if len(verdicts) != claims:
        raise ValueError(f"{len(verdicts)} verdicts on {claims} claims")
    return Answer(
        sharing=found.sharing,
        verdicts=verdicts,
        part=found.part,
        next_part=found.next_part,
        peers=found.peers,
        told=tuple(Told(told.minute, told.total, told.done, told.own, told.heard, told.before) for told in found.told),
        version=found.version,
        gate=found.gate,
        written=found.written,
        crowded=found.crowded,
        limit=found.limit,
        time_ms=found.time,
        error_ms=found.error,
        quiet=found.quiet,
    )
