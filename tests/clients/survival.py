"""Four bots on one daemon, through a dropped upstream, a `serverShutdown` and a restart: `make test-streams`.

Two ccxt bots, a python-binance script and a freqtrade run on the simulated exchange through one daemon. A second
exchange, of the same seed and left in peace, streams the same to a recorder: each frame that a bot was given must be
one of the recorder's, later than the bot's last of its topic, or a final frame that the daemon has mended.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from mdcache.replay.processes import free_port, running, sim, stream_settings
from tests.clients.catalogue import STREAM_CLIENTS
from tests.clients.environments import LeftOut, install
from tests.clients.recorder import Recorder
from tests.clients.streaming import ScriptFailed, document, started, subscribed

HOME = Path(__file__).parents[2] / ".clients"
BOTS = {
    "ccxt bot": "ccxt streams",
    "other ccxt bot": "ccxt streams",
    "python-binance script": "python-binance streams",
    "freqtrade": "freqtrade trade",
}
_NOTICE_S = 10.0
_RECOVERY_S = 75.0  # freqtrade listens again when it next needs a candle, once a minute
_START_S, _CALM_S = 60.0, 90.0


@dataclass(slots=True)
class Run:
    """What happened, and what the exchange saw of the daemon."""

    exchange: str
    excused: list[tuple[float, float]] = field(default_factory=list)
    upstream: list[tuple[str, Counter[str]]] = field(default_factory=list)

    def happened(self, what: str, lasts_s: float = 0.0) -> None:
        """Excuse missing frames from now on, for a while."""
        print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)
        self.excused.append((time.time() - 1.0, time.time() + lasts_s + _RECOVERY_S))

    def look(self, when: str) -> None:
        """Keep what is subscribed to upstream."""
        self.upstream.append((when, subscribed(self.exchange)))


class Daemon:
    """The daemon on a port of its own, which it keeps when it is started again."""

    def __init__(self, exchange: str, folder: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        upstream = dict.fromkeys(("SPOT_URL", "USDM_URL", "COINM_URL"), exchange)
        settings = upstream | {"PORT": str(port), "EGRESS": "survival", "LOG_LEVEL": "warning", "STATE_DIR": folder}
        settings |= {name.upper(): value for name, value in stream_settings(exchange).items()}
        self._settings = {f"MDCACHE_{name}": value for name, value in settings.items()}
        self._stack = ExitStack()

    def start(self) -> None:
        command = [sys.executable, "-m", "mdcache", "serve"]
        self._stack.enter_context(running(command, f"{self.url}/healthz", self._settings))

    def stop(self) -> None:
        self._stack.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.clients.survival", description=__doc__)
    parser.add_argument("--home", type=Path, default=HOME, help="folder of the environments (default: .clients)")
    home = parser.parse_args().home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    scripts = {client.name: client for client in STREAM_CLIENTS}
    try:
        commands = {bot: install(scripts[name], home) for bot, name in BOTS.items()}
    except LeftOut as reason:
        print(f"can't run: {reason}")
        return 1
    problems = asyncio.run(_survive(commands))
    for one in problems:
        print(f"  {one}")
    print("no frame was repeated, out of order or invented" if not problems else f"{len(problems)} problems")
    return bool(problems)


async def _survive(commands: dict[str, list[str]]) -> list[str]:
    """Start everything, disturb it, and judge what the bots were given."""
    with ExitStack() as stack:
        calm, exchange = stack.enter_context(sim()), stack.enter_context(sim())
        daemon = Daemon(exchange, stack.enter_context(tempfile.TemporaryDirectory()))
        stack.callback(daemon.stop)
        daemon.start()
        run, recorder = Run(exchange), Recorder(calm)
        recording = asyncio.create_task(recorder.run())
        following = asyncio.create_task(_follow(exchange, recorder))
        end = time.time() + _START_S + 3 * _CALM_S + _NOTICE_S + 40.0
        bots = {bot: stack.enter_context(started(command, daemon.url, end)) for bot, command in commands.items()}
        await _disturb(run, daemon, end)
        problems = []
        for bot, script in bots.items():
            try:
                given = await asyncio.to_thread(document, script)
            except ScriptFailed as failure:
                problems.append(f"{bot}: {failure}")
                continue
            print(f"{bot}: {sum(map(len, given.frames.values()))} frames of {len(given.frames)} topics")
            for topic, frames in given.frames.items():
                market = topic.partition(" ")[0]
                problems += [f"{bot}: {one}" for one in recorder.judge(market, frames, run.excused, end - 20.0)]
        for task in (recording, following):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    for when, topics in run.upstream:
        most = max(topics.values(), default=0)
        print(f"upstream {when}: {len(topics)} topics, {most} subscription each at most")
        problems += [f"upstream {when}: {topic} {times} times" for topic, times in topics.items() if times > 1]
        problems += [] if topics else [f"upstream {when}: nothing"]
    return problems


async def _follow(exchange: str, recorder: Recorder) -> None:
    """Have recorded whatever the daemon subscribes to."""
    while True:
        await recorder.want(iter(await asyncio.to_thread(subscribed, exchange)))
        await asyncio.sleep(0.5)


async def _disturb(run: Run, daemon: Daemon, end: float) -> None:
    await asyncio.sleep(_START_S)
    run.look("before")
    run.happened("the exchange drops every connection")
    await _close_streams(run.exchange, 0.0)
    await asyncio.sleep(_CALM_S)
    run.look("after the drop")
    run.happened("the exchange announces a shutdown", _NOTICE_S)
    await _close_streams(run.exchange, _NOTICE_S)
    await asyncio.sleep(_CALM_S + _NOTICE_S)
    run.look("after the shutdown")
    run.happened("the daemon is restarted")
    await asyncio.to_thread(daemon.stop)
    await asyncio.to_thread(daemon.start)
    run.happened("it is back")
    await asyncio.sleep(max(0.0, end - 5.0 - time.time()))
    run.look("after the restart")


async def _close_streams(exchange: str, notice_s: float) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        (await client.post(f"{exchange}/_sim/close_streams", json={"notice_s": notice_s})).raise_for_status()


if __name__ == "__main__":
    sys.exit(main())
