"""`mdcache demo`: run a simulated Binance and the daemon in front of it, in one terminal."""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from mdcache.cli.console import load_or_exit
from mdcache.cli.daemon_client import address
from mdcache.clock import SystemClock
from mdcache.replay.processes import free_port, stream_settings
from mdcache.settings import Settings

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_POLL_S = 0.1
_SIM_HOST = "127.0.0.1"


def demo(
    sim_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the simulated exchange; 0: any free port.")
    ] = 8701,
    seed: Annotated[int, typer.Option(help="Seed of the candles: the same seed gives the same candles.")] = 1,
    rows: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Folder of recorded candles to serve.")
    ] = None,
    state_dir: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Folder to keep state in; by default, state is removed at the end."),
    ] = None,
) -> None:
    """Start a simulated Binance and the daemon in front of it, print what to try, and end both with Ctrl-C."""
    settings = load_or_exit()
    settings = settings.model_copy(update={"port": settings.port or free_port()})
    sim_port = sim_port or free_port()
    asyncio.run(_check_free(settings, sim_port))
    sim = [*("sim", "--host", _SIM_HOST, "--port", str(sim_port)), *("--seed", str(seed))]
    if rows is not None:
        sim += ["--rows", str(rows)]
    with tempfile.TemporaryDirectory() if state_dir is None else nullcontext(state_dir.absolute()) as folder:
        urls = Urls(
            daemon=f"http://{address(settings)}",
            exchange=f"http://{_SIM_HOST}:{sim_port}",
        )
        note = " (removed at the end)" if state_dir is None else ""
        env = _environment(urls, settings.port, Path(folder))
        raise typer.Exit(asyncio.run(_Pair(env).run(sim, urls, f"{folder}{note}")))


async def _check_free(settings: Settings, sim_port: int) -> None:
    """Raise `ListenFailed` if something listens on a port: it would be taken for what is started here."""
    from mdcache.serving.http.server import listen

    ports = ((_SIM_HOST, sim_port, "--sim-port"), (settings.host, settings.port, "MDCACHE_PORT"))
    for host, port, setting in ports:
        for listening in await listen(host, port, setting):
            listening.close()


@dataclass(frozen=True, slots=True)
class Urls:
    """Where the two processes answer."""

    daemon: str
    exchange: str


def _environment(urls: Urls, port: int, state_dir: Path) -> dict[str, str]:
    """Return this process's environment, with what puts the daemon in front of the simulated exchange."""
    upstreams = {f"MDCACHE_{market}_URL": urls.exchange for market in ("SPOT", "USDM", "COINM")}
    upstreams |= {f"MDCACHE_{name.upper()}": base for name, base in stream_settings(urls.exchange).items()}
    no_proxy = ",".join(filter(None, (os.environ.get("NO_PROXY"), _SIM_HOST)))
    ours = {"MDCACHE_PORT": str(port), "MDCACHE_EGRESS": "sim", "MDCACHE_STATE_DIR": str(state_dir)}
    return {**os.environ, **upstreams, **ours, "NO_PROXY": no_proxy, "no_proxy": no_proxy}


class _Pair:
    """Two processes that start one after the other and end together.

    Each leads a session of its own, so that Ctrl-C reaches only this process, which passes signals on. If this process
    is killed, the pipes to them close, which ends them, too.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self._clock = SystemClock()
        self._processes: list[asyncio.subprocess.Process] = []
        self._stopping = asyncio.Event()

    async def run(self, sim: Sequence[str], urls: Urls, state: str) -> int:
        """Run both until a signal, then return 0; return 1 if one ends by itself."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._stop)
        try:
            ready = await self._start(sim, urls.exchange) and await self._start(["serve"], urls.daemon)
            if ready:
                typer.echo(to_try(urls, state))
                await self._until_one_ends()
            return 0 if self._stopping.is_set() else 1
        finally:
            self._terminate()
            for process in self._processes:
                await process.wait()

    async def _start(self, arguments: Sequence[str], url: str) -> bool:
        """Start a command of this package; return True once it accepts connections, False if it or all this ends."""
        command = [sys.executable, "-m", "mdcache.cli.child", *arguments]
        process = await asyncio.create_subprocess_exec(
            *command, env=self._env, stdin=asyncio.subprocess.PIPE, start_new_session=True
        )
        self._processes.append(process)
        host, _, port = url.removeprefix("http://").rpartition(":")
        while process.returncode is None and not self._stopping.is_set():
            try:
                _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            except OSError:
                await self._clock.sleep(_POLL_S)
            else:
                writer.close()
                return True
        return False

    async def _until_one_ends(self) -> None:
        ends = [asyncio.create_task(each.wait()) for each in self._processes]
        stop = asyncio.create_task(self._stopping.wait())
        _, pending = await asyncio.wait([stop, *ends], return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()

    def _stop(self) -> None:
        """Pass the signal on; at a second one the daemon ends without draining."""
        self._stopping.set()
        self._terminate()

    def _terminate(self) -> None:
        for process in self._processes:
            if process.returncode is None:
                process.terminate()


def to_try(urls: Urls, state: str) -> str:
    """Return where everything is, and requests that show what the daemon does."""
    klines = f"'{urls.daemon}/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=3'"
    return f"""
mdcache       {urls.daemon}  in front of a simulated Binance at {urls.exchange}
status page   {urls.daemon}/
API           {urls.daemon}/docs
state         {state}

Try, in another terminal:

  curl -i {klines}
      Asked again it is answered from memory: see cache-status and x-mdcache-as-of.
      From then on a stream keeps it fresh.

  curl -X POST {urls.exchange}/_sim/ban -d '{{"family":"spot","seconds":60}}'
      The exchange bans this address. Candles stay fresh by their stream, if it was open
      before. What has no stream, such as {urls.daemon}/api/v3/ticker/price,
      is the last answer, marked detail=stale, and after 30 s a 503 with retry-after.
      The exchange was asked once, and is left alone until the ban ends.

  curl -X POST {urls.exchange}/_sim/unban

Ctrl-C ends both.
"""
