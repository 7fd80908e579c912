"""Read `/v1/status` of the running daemon: the part of it that `mdcache status` shows."""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import msgspec

from mdcache.cache.stream_status import StreamsStatus
from mdcache.cli.daemon_client import address, request
from mdcache.errors import MdcacheError
from mdcache.results import RecentAnswers, Shares
from mdcache.serving.listener_status import ListenersStatus
from mdcache.serving.ops.activity import Note, ReasonCounts, Spenders, WeightHistory
from mdcache.serving.ops.series_list import SeriesLine
from mdcache.serving.ops.status import ProfileStatus, Upstreams
from mdcache.settings import Settings
from mdcache.upstream.governor import FamilyStatus

STATUS_PATH = "/v1/status"
_OK = 200


class Health(IntEnum):
    """The daemon's health, which is the command's exit code; 2 is for wrong settings."""

    READY = 0
    DEGRADED = 1
    NOT_READY = 3
    UNREACHABLE = 4


@dataclass(frozen=True, slots=True)
class SeriesSummary:
    """Totals of all series; `tails` by market and what feeds them; `listed` with `--series`."""

    count: int
    rows: int
    tails: dict[str, dict[str, int]]
    listed: tuple[SeriesLine, ...] = ()


@dataclass(frozen=True, slots=True)
class SharesShown:
    """The shares of requests that `results.py` defines."""

    last_minute: Shares
    total: Shares


@dataclass(frozen=True, slots=True)
class DaemonStatus:
    """The part of `/v1/status` that is shown."""

    version: str
    uptime_s: float
    ready: bool
    reasons: tuple[str, ...]
    degraded: tuple[str, ...]
    families: tuple[FamilyStatus, ...]
    weights: dict[str, WeightHistory]
    calls: dict[str, ReasonCounts]
    requests: dict[str, int]
    requests_last_minute: dict[str, int]
    shares: SharesShown
    answers: RecentAnswers
    upstreams: Upstreams
    spenders: Spenders
    events: tuple[Note, ...]
    series: SeriesSummary
    flights: int
    streams: tuple[StreamsStatus, ...] = ()
    listeners: tuple[ListenersStatus, ...] = ()
    stores: dict[str, dict[str, Any]] = field(default_factory=dict)
    profile: ProfileStatus | None = None

    @property
    def health(self) -> Health:
        """Return its health."""
        if not self.ready:
            return Health.NOT_READY
        return Health.DEGRADED if self.degraded else Health.READY


def fetch_status(settings: Settings, *, series: bool = False) -> bytes:
    """Return the daemon's answer; raise `DaemonNotRunning`, or `MdcacheError` for an answer of another program."""
    status, content = request(settings, "GET", STATUS_PATH + ("?series=1" if series else ""))
    if status != _OK:
        raise MdcacheError(f"{address(settings)} answered {status}: not an mdcache, or another release of it")
    return content


def decode_status(content: bytes) -> DaemonStatus:
    """Decode an answer; raise `MdcacheError` if it is not a status."""
    try:
        plain = msgspec.json.decode(content)
        plain["series"]["listed"] = plain["series"].pop("list", ())
        return msgspec.convert(plain, DaemonStatus)
    except (msgspec.MsgspecError, KeyError, TypeError, AttributeError) as error:
        raise MdcacheError(f"not a status that this release can read: {error}") from None
