"""Run `mdcache verify` in this process: obey the gates that were saved, save what the exchange said, write the profile.

The daemon may run beside it: only the profile is written then.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from mdcache import __version__
from mdcache.clock import Clock, SystemClock, boot_id
from mdcache.daemon.build_upstream import build_upstream, origins
from mdcache.events import Events
from mdcache.exchange.markets import Market
from mdcache.exchange.profile import FILE_NAME, MAX_BYTES, Profile, print_profile, read_profile
from mdcache.settings import Settings
from mdcache.stores.disk import gate_file
from mdcache.stores.disk.gate_file import GateFileUnreadable
from mdcache.stores.disk.state_dir import StateDirLocked, open_state_dir, replace_file
from mdcache.upstream.governor import Governor
from mdcache.upstream.streams.websocket_client import WebSocketConnector
from mdcache.verify.build import SECOND_SPOT_URL, SPOT_HOST, ExchangeAccess, VerifyRequest, open_run
from mdcache.verify.run import VerifyProgress, VerifyReport

_GATES = "gates.json"


async def run_verify(
    settings: Settings, request: VerifyRequest, on_progress: Callable[[VerifyProgress], None]
) -> tuple[VerifyReport, Path | OSError | None]:
    """Measure; return what was found, and the profile that was written, if anything was measured.

    If it can't be written, the error takes its place: what was measured is worth showing anyway.

    Raises:
        StateDirLocked: Another run measures: each would take the other's weight for its own, and together they may pass
            the bound.
    """
    with _only_one(settings.state_dir):
        return await _run_verify(settings, request, on_progress)


@contextmanager
def _only_one(state_dir: Path) -> Iterator[None]:
    try:
        own = open_state_dir(state_dir, "verify.lock")
    except StateDirLocked:
        raise StateDirLocked(f"another `mdcache verify` measures, and will write its profile to {state_dir}") from None
    try:
        yield
    finally:
        own.release()


async def _run_verify(
    settings: Settings, request: VerifyRequest, on_progress: Callable[[VerifyProgress], None]
) -> tuple[VerifyReport, Path | OSError | None]:
    clock = SystemClock()
    governor = build_upstream(settings, clock, random.Random(), Events())
    boot = boot_id()
    try:
        _restore_gates(settings, governor, boot)
        access = ExchangeAccess(
            {Market.SPOT: settings.spot_url, Market.USDM: settings.usdm_url, Market.COINM: settings.coinm_url},
            {Market(market): url for market, url in settings.stream_urls().items()},
            governor.handshakes,
            WebSocketConnector(timeout_s=settings.upstream_timeout_s),
            settings.weight_share,
            settings.upstream_timeout_s,
            second_spot_url=SECOND_SPOT_URL if urlsplit(settings.spot_url).hostname == SPOT_HOST else None,
        )
        run, clients = open_run(request, access, clock, on_progress)
        try:
            report = await run.run()
        finally:
            for client in clients:
                await client.aclose()
        if report.refused:
            _save_gates(settings, governor, boot)
    finally:
        await governor.aclose()
    try:
        return report, _write_profile(settings, request, report, clock)
    except OSError as error:
        return report, error


def _restore_gates(settings: Settings, governor: Governor, boot: str) -> None:
    """Have the gates as the daemon left them; if they can't be read, the first question is a probe, as the daemon's."""
    try:
        saved = gate_file.read(settings.state_dir / _GATES)
    except GateFileUnreadable:
        governor.restore(None, boot)
        return
    if settings.egress in saved:
        governor.restore(saved[settings.egress], boot)


def _save_gates(settings: Settings, governor: Governor, boot: str) -> None:
    """Save what the exchange said, for the daemon and the next run, unless a daemon runs, which will see it itself."""
    with suppress(StateDirLocked, GateFileUnreadable):
        state_dir = open_state_dir(settings.state_dir)
        try:
            if not state_dir.trouble:
                path = state_dir.path / _GATES
                gate_file.write(path, settings.egress, gate_file.read(path), governor.saved_state(boot))
        finally:
            state_dir.release()


def _write_profile(settings: Settings, request: VerifyRequest, report: VerifyReport, clock: Clock) -> Path | None:
    """Write what was measured. What a run was not asked for stays as it was measured before, and so does its time."""
    if not report.measured:
        return None
    path = settings.state_dir / FILE_NAME
    hosts = origins(settings)
    measured = report.measured
    found = Profile(clock.wall_ms(), __version__, {market: hosts[market] for market in request.markets}, measured)
    with suppress(FileNotFoundError), path.open("rb") as file:
        before = read_profile(file.read(MAX_BYTES + 1), hosts).profile
        asked = {each.fact.key for each in report.findings}
        kept = {} if before is None else {key: value for key, value in before.facts.items() if key not in asked}
        if before is not None and kept:
            found = replace(
                found,
                measured_at_ms=before.measured_at_ms,
                hosts={**before.hosts, **found.hosts},
                facts=kept | measured,
            )
    settings.state_dir.mkdir(0o700, parents=True, exist_ok=True)
    replace_file(path, print_profile(found))
    return path
