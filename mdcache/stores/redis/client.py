"""The one connection to Redis that everything else uses: a client behind a circuit breaker.

Redis may be absent, frozen, slow, full, read-only or locked: a call then fails within the time-out, and once a few
have failed all fail at once, until a background probe finds that Redis writes again. Nothing here knows what is kept.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn, TypeVar

from redis import exceptions as foreign

from mdcache.clock import Clock
from mdcache.events import BackgroundTaskFailed, Events, TierFailed, TierStateChanged, TierUsed
from mdcache.stores.redis import url
from mdcache.stores.redis.closing import cancel_all, cancellable
from mdcache.stores.redis.scripts import load
from mdcache.stores.redis.url import ForeignClient

# Theory of operation
# ===================
#
# The circuit opens
#   - at once, where the answer speaks of the server's state: locked, full, read-only, loading, a cluster that is down;
#   - after two time-outs or broken connections in a row, or three within ten seconds.
# A time-out that took far longer than it may was this process's own: it was stopped, and Redis was not.
# While it is open nobody waits: `call` raises. A task probes each second: connect (which may take longer: a cluster is
# looked up, a Sentinel asked), then write a key by a script, within the time-out of a call, as the calls do: who may
# not, or can't, would else be let in again and again. One success closes the circuit; where
# it had opened again soon after the last time, three in a row do, so that a slow Redis is not let in each second.
# What is refused for what it is (a wrong type under our key) says nothing about the server: it only fails.
#
# A new client is made for each closing: no connection to a server that was given up is used again.

TIER = "redis"
FORMAT = "v1:"  # of everything we keep there; another format has another prefix
_ROW = 2
_MOST_RECENT, _RECENT_S = 3, 10.0
_PROBE_EACH_S = 1.0
_CONNECT_S = 1.0
_FLAPPED_S = 10.0
_PROOFS_AFTER_FLAP = 3
_PROOF_LIFE_MS = 60_000
_SUSPENDED_S = 1.0  # over the time-out
_MAX_CONCURRENT = 64
_MAX_DETAIL = 200  # characters of a detail

# What the server says of itself, whoever asks.
_STATES = (
    foreign.AuthenticationError,
    foreign.AuthorizationError,
    foreign.AuthenticationWrongNumberOfArgsError,
    foreign.BusyLoadingError,
    foreign.ClusterDownError,
    foreign.MasterDownError,
    foreign.NoPermissionError,
    foreign.OutOfMemoryError,
    foreign.ReadOnlyError,
)
_IN_A_SCRIPT = "THE USER EXECUTING THE SCRIPT CAN'T RUN"  # as NOPERM
_STATE_WORDS = (
    *("NOAUTH", "WRONGPASS", "OOM ", "READONLY", "LOADING", "MISCONF", "NOREPLICAS", "CLUSTERDOWN", "BUSY "),
    _IN_A_SCRIPT,
)

_T = TypeVar("_T")


class RedisDown(Exception):
    """Redis can't be asked now, or did not do it; the message is for people and holds no secret."""


class RedisRefused(RedisDown):
    """This one thing was refused (a wrong type, say): others may be done."""


class RedisClient:
    """One Redis. `connect` makes a client, not connected yet; `prefix` begins every key."""

    def __init__(
        self,
        connect: Callable[[], ForeignClient],
        *,
        prefix: str,
        timeout_s: float,
        clock: Clock,
        events: Events,
        topology: str = "",
    ) -> None:
        self.prefix = prefix + FORMAT
        self.trouble = "not reached yet"
        self._connect = connect
        self._timeout_s = timeout_s
        self._clock = clock
        self._events = events
        self._topology = topology
        self._client: ForeignClient = None
        self._up = False
        self._watchers: list[Callable[[bool], None]] = []
        self._in_row = 0
        self._recent: deque[float] = deque(maxlen=_MOST_RECENT)
        self._closed_s = -_FLAPPED_S
        self._proofs_wanted = 1
        self._proof = load("proof")
        self._round_trips = 0
        self._failures = 0
        self._slots = asyncio.Semaphore(_MAX_CONCURRENT)
        self._opened = asyncio.Event()
        self._moved = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def up(self) -> bool:
        """Whether calls are let through."""
        return self._up

    def status(self) -> dict[str, object]:
        """For `/v1/status`."""
        return {
            "state": "ok" if self._up else "down",
            "detail": self.trouble,
            "form": self._topology,
            "round_trips": self._round_trips,
            "failures": self._failures,
        }

    def watch(self, on_change: Callable[[bool], None]) -> None:
        """Have `moved` called in the step in which the circuit closes (True) or opens (False)."""
        self._watchers.append(on_change)

    async def start(self) -> None:
        """Try once, for little more than a second at most; whatever comes of it, go on trying behind."""
        self._client = self._connect()
        await self._try()
        if not self._up:
            self._events.emit(TierStateChanged(TIER, "down", self.trouble))
            self._opened.set()
        self._keep(asyncio.create_task(self._probe_for_ever(), name="probe of redis"))

    async def aclose(self) -> None:
        """End the probe, the subscriptions and the connections."""
        self._up = False
        self.trouble = "the daemon stops"
        await cancel_all(*self._tasks)
        if self._client is not None:
            await self._close(url.close(self._client))

    async def call(self, op: str, work: Callable[[ForeignClient], Awaitable[_T]]) -> _T:
        """What `work` returns, given the client, within the time-out; `op` is a metrics label.

        Raises `RedisDown` for all that goes wrong with Redis, at once while the circuit is open, and `RedisRefused`
        where only this was refused. What `work` sent before a time-out may still be done by Redis, even much later.
        """
        if not self._up:
            raise RedisDown(self.trouble)
        client, began_s, waiting = self._client, self._clock.now(), True
        self._round_trips += 1
        try:
            with cancellable():
                async with asyncio.timeout(self._timeout_s), self._slots:
                    waiting = False
                    with _uvloop_understood():
                        result = await work(client)
        except TimeoutError:
            if waiting:  # for others of ours, which will tell on their own
                raise RedisDown("too many calls at once") from None
            self._late(client, op, f"no answer within {self._timeout_s:g} s", began_s)
        except foreign.TimeoutError as error:
            self._late(client, op, _text(error), began_s)
        except (foreign.RedisError, foreign.RedisClusterException, OSError) as error:
            self._judge(client, op, error)
        finally:
            self._events.emit(TierUsed(TIER, op, self._clock.now() - began_s))
        if client is self._client:
            self._in_row = 0
        return result

    def subscribe(
        self, channel: str, on_message: Callable[[bytes], None], on_subscribed: Callable[[], None] = lambda: None
    ) -> None:
        """Have `heard` called with each message on `channel`, for ever; subscribes again whenever it has to.

        `subscribed` is called each time it stands: messages before it are lost. `start` may come later.
        """
        name = f"subscription to {channel}"
        self._keep(asyncio.create_task(self._listen_for_ever(channel, on_message, on_subscribed), name=name))

    # -------------------------------------------------------------------------------- the circuit

    def _late(self, client: ForeignClient, op: str, detail: str, began_s: float) -> NoReturn:
        if self._clock.now() - began_s > self._timeout_s + _SUSPENDED_S:
            self._tell(op, detail)
            raise RedisDown("this process stood still")
        self._failed(client, op, detail, fatal=False)

    def _judge(self, client: ForeignClient, op: str, error: Exception) -> NoReturn:
        text = _text(error)
        words = str(error).upper()
        if isinstance(error, _STATES) or words.startswith(_STATE_WORDS):
            self._failed(client, op, text, fatal=True)
        if isinstance(error, foreign.ResponseError | foreign.DataError | foreign.WatchError):
            self._tell(op, text)
            raise RedisRefused(text) from error
        self._failed(client, op, text, fatal=False)

    def _failed(self, client: ForeignClient, op: str, detail: str, *, fatal: bool) -> NoReturn:
        self._tell(op, detail)
        if client is self._client and self._up:
            now_s = self._clock.now()
            self._in_row += 1
            self._recent.append(now_s)
            often = len(self._recent) == _MOST_RECENT and now_s - self._recent[0] <= _RECENT_S
            if fatal or often or self._in_row >= _ROW:
                self._open(detail)
        raise RedisDown(detail)

    def _tell(self, op: str, detail: str) -> None:
        self._failures += 1
        self._events.emit(TierFailed(TIER, op, detail, lost=False))

    def _open(self, detail: str) -> None:
        self._proofs_wanted = _PROOFS_AFTER_FLAP if self._clock.now() - self._closed_s < _FLAPPED_S else 1
        old, self._client = self._client, self._connect()
        self._keep(asyncio.create_task(self._close(url.close(old)), name="end of a client of redis"))
        self._move(up=False, detail=detail)
        self._opened.set()

    def _move(self, *, up: bool, detail: str) -> None:
        self._up, self.trouble = up, detail
        self._in_row = 0
        self._recent.clear()
        self._moved.set()
        self._moved = asyncio.Event()
        self._events.emit(TierStateChanged(TIER, "ok" if up else "down", detail))
        for moved in self._watchers:
            moved(up)

    async def _probe_for_ever(self) -> None:
        proofs = 0
        while True:
            await self._opened.wait()
            await self._clock.sleep(_PROBE_EACH_S)
            proofs = await self._try(proofs)
            if self._up:
                self._opened.clear()
                proofs = 0

    async def _try(self, proofs: int = 0) -> int:
        """Probe once; closes the circuit after enough in a row, of which `proofs` were before. Returns how many."""
        client, key = self._client, f"{self.prefix}probe"
        try:
            with _uvloop_understood():
                async with asyncio.timeout(_CONNECT_S):
                    await client.ping()
                async with asyncio.timeout(self._timeout_s):
                    await self._proof.run(client, [key], [_PROOF_LIFE_MS])
        except (foreign.RedisError, foreign.RedisClusterException, OSError) as error:  # TimeoutError is an OSError
            self.trouble = _text(error) if str(error) else "no answer"
            return 0
        if proofs + 1 >= self._proofs_wanted:
            self._closed_s = self._clock.now()
            self._move(up=True, detail="")
        return proofs + 1

    # -------------------------------------------------------------------------------------- parts

    async def _listen_for_ever(
        self, channel: str, heard: Callable[[bytes], None], subscribed: Callable[[], None]
    ) -> None:
        while True:
            moved = self._moved
            if not self._up:
                await moved.wait()
                continue
            listener = asyncio.create_task(self._listen(channel, heard, subscribed), name=f"listener to {channel}")
            waiter = asyncio.create_task(moved.wait())
            try:
                await asyncio.wait({listener, waiter}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await cancel_all(listener, waiter)
            error = None if listener.cancelled() else listener.exception()
            if error is not None:  # of who hears: it must not end the hearing
                self._events.emit(BackgroundTaskFailed("subscription", f"{channel}: {type(error).__name__}: {error}"))
            await self._clock.sleep(_PROBE_EACH_S)

    async def _listen(self, channel: str, heard: Callable[[bytes], None], subscribed: Callable[[], None]) -> None:
        """Until the connection breaks, or a server that was silent does not answer a ping either."""
        pubsub = self._client.pubsub()
        silent = 0
        try:
            with _uvloop_understood():
                await pubsub.subscribe(channel)
                while silent < _ROW:
                    message = await pubsub.get_message(timeout=_RECENT_S / _ROW)
                    if message is None:
                        silent += 1
                        await pubsub.ping()
                        continue
                    silent = 0
                    if message["type"] == "subscribe":
                        subscribed()
                    elif message["type"] == "message":
                        heard(bytes(message["data"]))
        except (foreign.RedisError, foreign.RedisClusterException, OSError) as error:
            self._tell("subscribe", _text(error))
        finally:
            await self._close(pubsub.aclose())

    async def _close(self, closing: Awaitable[None]) -> None:
        """What can't be ended in order is left to the system."""
        try:
            async with asyncio.timeout(_CONNECT_S):
                with _uvloop_understood():
                    await closing
        except (foreign.RedisError, foreign.RedisClusterException, OSError) as error:
            self._tell("close", _text(error))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:_MAX_DETAIL]


@contextmanager
def _uvloop_understood() -> Iterator[None]:
    """A connection that is closed already: uvloop raises a bare `RuntimeError` for it, asyncio an `OSError`."""
    try:
        yield
    except RuntimeError as error:
        if "the handler is closed" not in str(error):
            raise
        raise ConnectionResetError("the connection was closed already") from error
