"""The commons in Redis: one round trip to take, one to give, each a script that touches the keys of one series.

What can't be read is not there: it is counted, and written anew by who reads it from Binance next. Rows are kept
for days after they were last asked for, tails for minutes.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any, TypeVar

from mdcache.candles.atrest import Kept, Which
from mdcache.candles.block import Block
from mdcache.candles.commons import ERROR_TOLD_S, LEASE_S, CommonsDown, Found, Gift, Have, Hold, Lease, Need
from mdcache.candles.share import Shared, SharedBlock
from mdcache.clock import Clock
from mdcache.events import Events, TierFailed
from mdcache.exchange.markets import Market
from mdcache.exchange.questions import SeriesKey
from mdcache.stores.codec import Unreadable
from mdcache.stores.folder import Folder
from mdcache.stores.redis import form
from mdcache.stores.redis.form import Place, Written
from mdcache.stores.redis.link import TIER, Link, RedisDown
from mdcache.stores.redis.news import News
from mdcache.stores.redis.purges import Purges
from mdcache.stores.redis.scripts import Script, load

TAIL_S, ROWS_S = 600.0, 3 * 86_400.0
_MOST_BYTES = 512 << 10  # of a tail or of a block's rows; 1,024 rows take 30 to 70 kB
_MOST_VOIDS = 1_000

_T = TypeVar("_T")
_Parts = tuple[bytes, bytes, bytes]


class RedisCommons:
    """The port of `candles/commons.py` over a link. Rows are packed and unpacked in `thread`."""

    def __init__(
        self,
        link: Link,
        origins: Mapping[Market, str],
        thread: Executor,
        clock: Clock,
        events: Events,
        folder: Folder | None = None,
    ) -> None:
        self._link = link
        self._origins = origins
        self._thread = thread
        self._events = events
        self.news = News(link)
        self._purges = Purges(link, self.news, clock, folder)
        self._take = load("leases", "take")
        self._give, self._renew, self._release = map(load, ("give", "renew", "release"))

    def start(self) -> None:
        """Listen to the others from now on."""
        self.news.start()
        self._purges.start()

    async def catch_up(self) -> None:
        """Hear of what was purged while this replica was away."""
        await self._purges.look()

    async def aclose(self) -> None:
        """Listen no more; the link is its maker's to end."""
        await self._purges.aclose()
        self._thread.shutdown(wait=False)

    def hear(self, told: Callable[[SeriesKey], None], purged: Callable[[Which, bytes], None]) -> None:
        """Have them called for what others tell."""
        self.news.hear(told)
        self._purges.hear(purged)

    # ------------------------------------------------------------------------------------ taking

    async def take(self, key: SeriesKey, have: Have, need: Need | None) -> Found:
        """What is there and not here, and who may read."""
        at = self._place(key)
        found = await self._take_once(at, have, need)
        lost = [index for index in found.lost if have.blocks[index][0] and index in found.marks]
        if not lost:
            return found
        # what differs is only its end, and our own form of the rest does not fit: once more, whole
        whole = dict.fromkeys(lost, (b"", None))
        again = await self._take_once(at, replace(have, blocks=whole), None)
        blocks = {**found.shared.blocks, **again.shared.blocks}
        return replace(
            found,
            shared=replace(found.shared, blocks=blocks),
            marks={**found.marks, **again.marks},
            lost=(found.lost - set(lost)) | again.lost,
        )

    async def _take_once(self, at: Place, have: Have, need: Need | None) -> Found:
        keys = [at.key("h"), at.key("t"), at.key(f"l{need.lease.name}" if need else "l"), at.key("w")]
        args: list[bytes | str | int] = [have.epoch, have.revisions, have.tail[: form.STAMP]]
        if need is None:
            args += ["", 0, "", 0]
        else:
            args += ["" if need.floor_ms is None else need.floor_ms, need.now_ms, need.lease.token, need.lease.rank]
        args += [_ms(LEASE_S), _ms(ROWS_S), "1" if need is not None and need.takes else ""]
        for index, (mark, mine) in have.blocks.items():
            keys += [at.key(f"b{index}"), at.key(f"y{index}")]
            args += [index, mark[: form.STAMP], mark[form.STAMP : 2 * form.STAMP] if mine is not None else b""]
        reply = await self._run("take", self._take, keys, args)
        faults: list[str] = []
        if any(part[0] not in {b"", b"="} for part in reply[-1]):
            found = await self._in_thread(_read, at, have, reply, faults)
        else:
            found = _read(at, have, reply, faults)
        for fault in faults:
            self._events.emit(TierFailed(TIER, "take", fault, lost=True))
        return found

    # ------------------------------------------------------------------------------------ giving

    async def give(self, key: SeriesKey, gift: Gift) -> Found:
        """All of it, or nothing where another gave since `gift.have` was seen."""
        at, have, shared = self._place(key), gift.have, gift.shared
        tail, emptiness, blocks = await self._in_thread(self._write, at, gift)
        lease = gift.lease
        keys = [at.key("h"), at.key("t"), at.key(f"l{lease.name}" if lease else "l"), at.key("w")]
        args: list[bytes | str | int] = [have.epoch, _stamp(), _value(lease)]
        args += [self.news.channel, self.news.told(key), _ms(TAIL_S), _ms(ROWS_S)]
        args += [tail, have.tail[: form.STAMP], emptiness, have.emptiness]
        for index, written in blocks.items():
            keys += [at.key(f"b{index}"), at.key(f"y{index}")]
            args += [index, have.blocks[index][0][: form.STAMP], "1" if index in gift.told else ""]
            args += [written.card_head, written.card_rest, b"=" if written.base is None else written.base]
            args.append(written.young)
        reply = await self._run("give", self._give, keys, args)
        if reply[0] != b"given":
            return Found()
        tail_mark = tail[: form.STAMP] + form.as_of_bytes(tail) if tail else have.tail
        return Found(
            reply[1],
            int(reply[2]),
            reply[3],
            tail=tail_mark,
            tail_as_of_ms=form.as_of_ms(tail_mark),
            emptiness=emptiness[: form.STAMP] or have.emptiness,
            marks={index: (each.mark, shared.blocks[index].kept.known) for index, each in blocks.items()},
            given=True,
        )

    def _write(self, at: Place, gift: Gift) -> tuple[bytes, bytes, dict[int, Written]]:
        """In the thread: the parts as bytes; those too long to be kept are left out."""
        shared = gift.shared
        tail = form.write_tail(at, shared.tail, _stamp()) if shared.tail is not None else b""
        emptiness = form.write_emptiness(at, shared.bare, shared.voids)
        blocks: dict[int, Written] = {}
        if len(shared.voids) <= _MOST_VOIDS:
            for index, block in shared.blocks.items():
                mark = gift.have.blocks[index][0]
                kept, stamps = block.kept, (_stamp(), _stamp())
                written = form.write_block(at, kept.block, kept.known, block.revised, mark, stamps)
                if written is not None and written.nbytes <= _MOST_BYTES:
                    blocks[index] = written
        fits = len(shared.voids) <= _MOST_VOIDS and len(emptiness) <= _MOST_BYTES
        return (tail if len(tail) <= _MOST_BYTES else b""), (emptiness if fits else b""), (blocks if fits else {})

    # ------------------------------------------------------------------------------------ leases

    async def renew(self, key: SeriesKey, lease: Lease) -> bool:
        """Another `LEASE_S`."""
        keys: list[str] = [self._place(key).key(f"l{lease.name}")]
        return bool(await self._run("renew", self._renew, keys, [_value(lease), _ms(LEASE_S)]))

    async def release(self, key: SeriesKey, lease: Lease, error: str) -> None:
        """At once, with the error told for a second."""
        at = self._place(key)
        args: list[bytes | str | int] = [_value(lease), error, _ms(ERROR_TOLD_S)]
        args += [self.news.channel, self.news.told(key)]
        await self._run("release", self._release, [at.key(f"l{lease.name}"), at.key("w")], args)

    # ------------------------------------------------------------------------------------ purging

    async def purge(self, which: Which, name: bytes) -> None:
        """Of this daemon's upstreams only."""
        try:
            await self._purges.purge(which, name, self._origins)
        except RedisDown as error:
            raise CommonsDown(str(error)) from error

    async def purge_series(self, key: SeriesKey, name: bytes) -> None:
        """One of them."""
        try:
            await self._purges.purge_series(self._place(key).tag, name)
        except RedisDown as error:
            raise CommonsDown(str(error)) from error

    # ------------------------------------------------------------------------------------ parts

    def _place(self, key: SeriesKey) -> Place:
        return form.place(self._link.prefix, self._origins[key.market], key)

    async def _run(self, op: str, script: Script, keys: list[str], args: list[bytes | str | int]) -> Any:  # noqa: ANN401
        try:
            return await self._link.call(op, lambda client: script.run(client, keys, args))
        except RedisDown as error:
            raise CommonsDown(str(error)) from error

    async def _in_thread(self, work: Callable[..., _T], *args: object) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)


def _read(at: Place, have: Have, reply: list[Any], faults: list[str]) -> Found:
    """What the script returned; what is broken in it is told in `faults`, for this may run in the thread."""
    epoch, revisions, purge, raw_tail, raw_emptiness, hold, error, revised, parts = reply
    tail, tail_mark = None, have.tail
    if raw_tail != b"=":
        tail_mark = raw_tail[: form.STAMP]
        tail = _readable(faults, form.read_tail, at, raw_tail) if raw_tail else None
        if tail is not None:
            tail_mark += form.as_of_bytes(raw_tail)
    emptiness = _readable(faults, form.read_emptiness, at, raw_emptiness) if raw_emptiness else None
    bare, voids = emptiness or ((), ())
    marks, blocks, lost = {}, {}, set()
    for (index, (mark, mine)), part in zip(have.blocks.items(), parts, strict=True):
        if not part[0]:
            continue
        card = mark if part[0] == b"=" else part[0]
        told = _readable(faults, form.known_by, at, index, card)
        rows = _rows(faults, at, index, card, part, mine) if part[0] != b"=" and told is not None else None
        marks[index] = (card, told[0]) if told is not None else (card[: form.STAMP], ())
        if told is None or (part[0] != b"=" and rows is None):
            marks[index] = (card[: form.STAMP], ())
            lost.add(index)
        elif rows is not None:
            blocks[index] = SharedBlock(Kept(rows, told[0]), told[1])
    if emptiness is None:  # emptiness among the rows may fill, and nobody knows where
        lost |= set(blocks)
        blocks = {}
    shared = Shared(tail, bare, voids, blocks)
    return Found(
        epoch,
        int(revisions) if revisions.isdigit() else 0,
        purge,
        shared,
        tail_mark,
        form.as_of_ms(tail_mark),
        raw_emptiness[: form.STAMP],
        marks,
        frozenset(lost),
        tuple(int(index) for index in revised),
        Hold(hold.decode()),
        error.decode(errors="replace"),
    )


def _rows(faults: list[str], at: Place, index: int, card: bytes, part: _Parts, mine: Block | None) -> Block | None:
    _, base, young = part
    if not base:
        return None  # Redis gave it up, or it ran out
    return _readable(faults, form.read_block, at, index, card, None if base == b"=" else base, young, mine)


def _readable(faults: list[str], read: Callable[..., _T], *args: object) -> _T | None:
    try:
        return read(*args)
    except Unreadable as error:
        faults.append(str(error))
        return None


def _stamp() -> bytes:
    return secrets.token_bytes(form.STAMP)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _value(lease: Lease | None) -> str:
    """As the script of the taking wrote it."""
    return f"{lease.rank} {lease.token}" if lease is not None else ""
