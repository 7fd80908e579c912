"""The end of a daemon under load: what is being asked is answered whole, and balancers are told before anybody else."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count

import pytest
from websockets.asyncio.client import connect

from mdcache.replay.processes import stream_settings
from tests.support.processes import Process, daemon, sim
from tests.support.socket_client import Peer
from tests.support.waiting import PATIENCE_S, until

pytestmark = pytest.mark.processes

GRACE_S = 4.0
WHOLE = b"0\r\n\r\n"  # the end of an answer in chunks
HIT = "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=2&endTime=1735689600000"
TABLE = "/v1/candles.csv?market=spot&symbols=BTCUSDT,ETHUSDT,BNBUSDT,SOLUSDT,XRPUSDT&intervals=1m,5m,15m,1h&limit=1000"


def _request(target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def _cold() -> Iterator[str]:
    for hour in count(1):
        yield f"/api/v3/klines?symbol=ETHUSDT&interval=1m&limit=2&startTime={1735689600000 + hour * 3_600_000_0}"


class _Load:
    """Clients that ask the daemon at `port` until nobody listens there; `faults`: answers that were cut off."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answers: Counter[tuple[str, int]] = Counter()
        self.last: Counter[str] = Counter()  # answers that announced the connection's end
        self.faults: list[str] = []
        self.readiness: list[tuple[int, float]] = []

    async def connect(self) -> Peer | None:
        try:
            return Peer(*await asyncio.open_connection("127.0.0.1", self.port))
        except ConnectionRefusedError:
            return None

    async def poll(self, what: str, targets: Iterator[str], pause_s: float) -> None:
        """Ask on one connection, and on another when that has ended between two questions."""
        while (peer := await self.connect()) is not None:
            while not peer.reader.at_eof():
                try:
                    status, headers, _ = await peer.get(_request(next(targets)))
                except (OSError, asyncio.IncompleteReadError) as error:
                    self.faults.append(f"{what}: {error!r}")
                    return
                self.answers[what, status] += 1
                if headers.get("connection") == "close":
                    self.last[what] += 1
                    break
                await asyncio.sleep(pause_s)
            peer.writer.close()

    async def watch(self) -> None:
        """Ask, as a balancer does, on a new connection each time: whether it is ready, then a question."""
        while (peer := await self.connect()) is not None:
            try:
                ready, _, _ = await peer.get(_request("/readyz"))
                self.readiness.append((ready, time.monotonic()))
                peer.writer.close()
                if (other := await self.connect()) is not None:
                    status, _, _ = await other.get(_request(HIT))
                    self.answers[f"watched {ready}", status] += 1
                    other.writer.close()
            except (OSError, asyncio.IncompleteReadError):  # the very end: told long before
                return
            await asyncio.sleep(0.05)

    async def read_slowly(self, target: str) -> bytes:
        """Return the whole answer, read over some seconds."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 16)
        writer.write(_request(target))
        found = b""
        while not found.endswith(WHOLE) and (chunk := await reader.read(1 << 16)):
            found += chunk
            await asyncio.sleep(0.01)
        writer.close()
        return found


async def test_a_stop_under_load_cuts_off_no_answer_and_tells_balancers_first() -> None:
    settings = {"shutdown_grace_s": str(GRACE_S), "compress": "off"}
    with sim() as exchange, daemon(exchange, **settings, **stream_settings(exchange)) as (base, process):
        load = _Load(int(base.rsplit(":", 1)[1]))
        await load.read_slowly(TABLE)  # so that it comes from memory, whatever is left to spend
        cold = _cold()
        tasks = [asyncio.create_task(load.poll("hit", iter(lambda: HIT, ""), 0.02 * n + 0.01)) for n in range(8)]
        tasks += [asyncio.create_task(load.poll("cold", cold, 0.02 * n + 0.01)) for n in range(4)]
        tasks.append(asyncio.create_task(load.watch()))
        listening = await connect(f"ws://127.0.0.1:{load.port}/ws/btcusdt@kline_1m", proxy=None, compression=None)
        heard = asyncio.create_task(listening.wait_closed())
        events = asyncio.create_task(load.read_slowly("/v1/stream?market=spot&symbols=BTCUSDT&intervals=1m"))
        await until(lambda: load.answers["hit", 200] > 200 and load.answers["cold", 200] > 10)
        table = asyncio.create_task(load.read_slowly(TABLE))
        await asyncio.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        sent_s = time.monotonic()
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*tasks)
            await _ended(process)
            took_s = time.monotonic() - sent_s
            rows, told = await table, await events
            await heard
    assert load.faults == []
    assert {status for _, status in load.answers} == {200}
    assert load.last["hit"] == 8
    assert load.last["cold"] == 4
    assert load.answers["watched 503", 200] >= 3  # while balancers notice, everybody is served
    statuses = [status for status, _ in load.readiness]
    assert statuses == sorted(statuses)
    assert rows.endswith(WHOLE)
    assert rows.count(b"BTCUSDT,1m,") == 1_000
    assert told.endswith(WHOLE)
    assert listening.close_code == 1001
    assert process.returncode == 0
    assert took_s < GRACE_S + 1.0


async def _ended(process: Process) -> None:
    await until(lambda: process.poll() is not None)
