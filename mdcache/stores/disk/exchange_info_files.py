"""The last `exchangeInfo` of each market in a file, so that a daemon that starts during a ban knows its symbols.

A file is a line of JSON that describes it, then the deflated body. It is used only for the upstream it came from.
"""

import asyncio
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
import xxhash

from mdcache.background_work import give_way
from mdcache.clock import Clock
from mdcache.events import Events
from mdcache.exchange.markets import Market
from mdcache.store_events import StoreOp, Tier, TierFailed, TierUsed
from mdcache.stores.disk.state_dir import replace_file

VERSION = 1
TIER, OP = Tier.DISK, StoreOp.SYMBOLS
_LEVEL = 1  # 20 MB in a quarter of a second to a twelfth of the size; a higher level gains little
_AT_ONCE = 1 << 16  # bytes deflated in a millisecond
_MAX_BYTES = 64 << 20  # the most that a reply of exchangeInfo may have
_T = TypeVar("_T")


class _FileHeader(msgspec.Struct, frozen=True):
    version: int
    origin: str
    as_of_ms: int
    sum: str


class ExchangeInfoFiles:
    """The bodies in `directory`, by market, each under the market's origin; only `thread` touches the disk."""

    def __init__(
        self, directory: Path, origins: Mapping[Market, str], thread: Executor, clock: Clock, events: Events
    ) -> None:
        self._directory = directory
        self._origins = origins
        self._thread = thread
        self._clock = clock
        self._events = events
        self._saving: set[asyncio.Task[None]] = set()

    async def load(self, market: Market, *, sets: bool) -> tuple[bytes, int] | None:
        """Return the market's last body (`sets`: with permission sets) and its as-of in ms; `None` if there is none."""
        return await self._run(partial(_read, self._path(market, sets=sets), self._origins[market]))

    def save(self, market: Market, body: bytes, as_of_ms: int, *, sets: bool) -> None:
        """Write a body in the background."""
        call = partial(_write, self._path(market, sets=sets), self._origins[market], body, as_of_ms)
        task = asyncio.get_running_loop().create_task(self._run(call), name=f"symbols of {market.value}")
        self._saving.add(task)
        task.add_done_callback(self._saving.discard)

    async def aclose(self, timeout_s: float) -> None:
        """Wait for writes in progress, for at most `timeout_s`."""
        if self._saving:
            await asyncio.wait(self._saving, timeout=timeout_s)
        self._thread.shutdown(wait=False)

    def _path(self, market: Market, *, sets: bool) -> Path:
        return self._directory / f"exchangeInfo-{market.value}{'-sets' if sets else ''}"

    async def _run(self, call: Callable[[], _T]) -> _T | None:
        began_s = self._clock.now()
        try:
            result = await asyncio.get_running_loop().run_in_executor(self._thread, call)
        except (OSError, ValueError, zlib.error) as error:
            self._events.emit(TierFailed(TIER, OP, str(error), lost=not isinstance(error, OSError)))
            return None
        self._events.emit(TierUsed(TIER, OP, self._clock.now() - began_s))
        return result


def _read(path: Path, origin: str) -> tuple[bytes, int] | None:
    """Raise `OSError`, `ValueError` or `zlib.error` if it is not what `_write` wrote."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    line, _, deflated = raw.partition(b"\n")
    head = msgspec.json.decode(line, type=_FileHeader)
    if head.origin != origin or head.version != VERSION:
        return None
    body = zlib.decompressobj().decompress(deflated, _MAX_BYTES)
    if head.sum != xxhash.xxh3_64_hexdigest(body):
        raise ValueError(f"{path}: the checksum does not match")
    return body, head.as_of_ms


def _write(path: Path, origin: str, body: bytes, as_of_ms: int) -> None:
    head = msgspec.json.encode(_FileHeader(VERSION, origin, as_of_ms, xxhash.xxh3_64_hexdigest(body)))
    deflater, pieces = zlib.compressobj(_LEVEL), [head, b"\n"]
    for at in range(0, len(body), _AT_ONCE):
        pieces.append(deflater.compress(body[at : at + _AT_ONCE]))
        give_way()
    replace_file(path, b"".join([*pieces, deflater.flush()]))
