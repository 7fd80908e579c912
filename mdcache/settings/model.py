"""The `Settings` class: name, type, default, bounds and meaning of every setting.

`load` reads them from the environment; nothing here acts on a setting.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import Field, JsonValue, SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from mdcache.settings.values import (
    ClientLanes,
    FolderPath,
    HostNames,
    HttpUrl,
    IntervalTtls,
    LogLevel,
    Lower,
    Mode,
    Origins,
    PathTtls,
    PositiveInt,
    PositiveSeconds,
    RedisUrl,
    Seconds,
    Share,
    Token,
    Word,
    WsUrl,
    empty_map,
)

PREFIX = "MDCACHE_"
HIDDEN = "(hidden)"

# Production only: `testnet.…`, `demo-api.…`, `demo-fapi.…` have other prices (docs/binance.md#hosts).
_BINANCE_HOST = re.compile(r"(data-|f|d)?api\d*(-gcp)?\.binance\.(com|vision)")
_RELOADABLE: dict[str, JsonValue] = {"reloadable": True}  # the mark of settings that SIGHUP changes


def default_ttls() -> Mapping[str, float]:
    """Return the TTLs of open candles by interval where neither setting is given (docs/design.md#settings).

    The longest leaves ten seconds of the default `MAX_STALE_S`, so that a short pause of Binance refuses nobody.
    """
    minutes = {"3m": 3, "5m": 5, "15m": 5, "30m": 10}
    hours = {"1h": 10, "2h": 10, "4h": 15, "6h": 15, "8h": 15}
    return MappingProxyType(minutes | hours | dict.fromkeys(("12h", "1d", "3d", "1w", "1M"), 20))


def default_state_dir(environ: Mapping[str, str]) -> Path:
    """Return the platform's directory for a program's state (XDG base directories) in this environment."""
    base = Path(environ.get("XDG_STATE_HOME", ""))
    if base.is_absolute():  # by the standard, relative paths are ignored
        return base / "mdcache"
    try:
        home = Path(environ.get("HOME") or "~").expanduser()
    except RuntimeError:  # a container's user with neither HOME nor an entry in passwd
        return Path("/var/lib/mdcache")
    return home / ".local" / "state" / "mdcache"


@dataclass(frozen=True, slots=True)
class LoadContext:
    """What `load` found beside the settings themselves."""

    given: frozenset[str] = frozenset()
    ignored: tuple[str, ...] = ()
    https_proxy: SecretStr | None = None


class Settings(BaseSettings):
    """All settings, frozen. `load` makes an instance from the environment; `Settings()` has the defaults."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=False
    )

    host: Word = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8700, ge=0, le=65535, description="port to listen on (0: any free one)")
    allowed_hosts: HostNames = Field(
        json_schema_extra=_RELOADABLE,
        default=(),
        description="more host names under which the status page, /v1/status, /v1/series and /v1/admin are served, "
        "separated by commas; .name: all below it; *: any",
    )
    spot_url: HttpUrl = Field(default="https://api.binance.com", description="upstream of spot")
    usdm_url: HttpUrl = Field(default="https://fapi.binance.com", description="upstream of USD-M futures")
    coinm_url: HttpUrl = Field(default="https://dapi.binance.com", description="upstream of COIN-M futures")
    spot_ws_url: WsUrl = Field(default="wss://stream.binance.com:9443", description="stream base of spot")
    usdm_ws_url: WsUrl = Field(default="wss://fstream.binance.com", description="stream base of USD-M futures")
    coinm_ws_url: WsUrl = Field(default="wss://dstream.binance.com", description="stream base of COIN-M futures")
    streams: Annotated[Literal["auto", "off"], Lower] = Field(
        default="auto", description="feed tails from streams: auto, off"
    )
    stream_idle_s: Seconds = Field(
        default=300.0,
        description="seconds; what nobody asked for in this time is unsubscribed, and derives nothing",
    )
    derive: bool = Field(
        default=True,
        description="without a stream, compute open candles of longer intervals from the symbol's shortest",
    )
    open_candle_ttl_s: Seconds = Field(
        json_schema_extra=_RELOADABLE,
        default=2.0,
        description="seconds; how long an open candle is fresh; for all intervals, if only this is set",
    )
    open_candle_ttls: IntervalTtls = Field(
        json_schema_extra=_RELOADABLE,
        default_factory=default_ttls,
        description="JSON, seconds by interval; intervals it does not name have OPEN_CANDLE_TTL_S",
    )
    settle_s: Seconds = Field(
        default=3.0, description="seconds; from so long after a row's close on, two equal reads settle it"
    )
    confirm_s: Seconds = Field(
        default=60.0, description="seconds; from so long after a row's close on, one read settles it"
    )
    exchange_info_ttl_s: Seconds = Field(
        json_schema_extra=_RELOADABLE, default=300.0, description="seconds; how long the list of symbols is fresh"
    )
    invalid_symbol_ttl_s: Seconds = Field(
        json_schema_extra=_RELOADABLE,
        default=60.0,
        description="seconds; a question for an unknown symbol refreshes a list older than this",
    )
    audit_rows_per_hour: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        default=0, description="settled rows to read again in an hour, chosen at random, and to compare; 0: none"
    )
    snapshot_ttl_s: Seconds = Field(
        json_schema_extra=_RELOADABLE, default=1.0, description="seconds; shortest TTL of snapshots"
    )
    snapshot_ttls: PathTtls = Field(
        json_schema_extra=_RELOADABLE,
        default_factory=empty_map,
        description='JSON, seconds by path tail: {"ticker/24hr":5}',
    )
    max_stale_s: Seconds = Field(
        json_schema_extra=_RELOADABLE,
        default=30.0,
        description="seconds; age of the oldest answer served while Binance can't be asked",
    )
    weight_share: Share = Field(
        default=0.5, description="share of the address's weight limit to use: above 0, at most 1"
    )
    egress: Word = Field(
        default="default", description="name of the address that Binance sees; gates and budgets are kept by it"
    )
    replicas: PositiveInt = Field(
        default=2, description="most replicas that run at once; assumed while Redis was never reached"
    )
    upstream_concurrency: PositiveInt = Field(default=8, description="reads in flight at once, per market")
    upstream_timeout_s: PositiveSeconds = Field(default=5.0, description="seconds; longest a read may take")
    request_deadline_s: PositiveSeconds = Field(default=8.0, description="seconds; longest a client waits")
    retry_attempts: PositiveInt = Field(default=4, description="attempts of one read, the first included")
    backoff_initial_s: PositiveSeconds = Field(
        default=1.0, description="seconds; first pause after a failure, before jitter"
    )
    backoff_max_s: PositiveSeconds = Field(default=300.0, description="seconds; longest such pause")
    memory_max_mb: PositiveInt = Field(
        default=512, description="MB; most memory for candles, snapshots and ready answers together"
    )
    state_dir: FolderPath = Field(
        default_factory=lambda: default_state_dir(os.environ),
        description="folder of gates, symbols and settled rows; empty: the platform's",
    )
    persist: bool = Field(default=True, description="keep settled rows on disk")
    disk_max_mb: int = Field(default=2048, ge=0, description="MB; most to keep on disk")
    redis_url: RedisUrl | None = Field(
        default=None, description="redis[s]://, redis+sentinel:// or redis+cluster://; secret"
    )
    redis_prefix: Word = Field(default="mdcache:", description="prefix of every key in Redis")
    redis_timeout_s: PositiveSeconds = Field(
        default=0.25, description="seconds; a call to Redis that takes longer has failed"
    )
    clients: ClientLanes = Field(
        json_schema_extra=_RELOADABLE,
        default_factory=empty_map,
        description='JSON, lane by client: {"engine":"high","ai":"normal"}',
    )
    client_requests_per_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        json_schema_extra=_RELOADABLE,
        default=0.0,
        description="requests a second of each client, over HTTP and WebSockets; 0: no limit",
    )
    unknown_paths: Annotated[Literal["refuse", "forward"], Lower] = Field(
        default="refuse", description="unknown public paths: refuse, forward"
    )
    compress: Mode = Field(default="auto", description="gzip: auto (not for loopback peers), on, off")
    cors_origins: Origins = Field(default=(), description="origins that may read answers, separated by commas, or *")
    admin_token: Token | None = Field(
        json_schema_extra=_RELOADABLE,
        default=None,
        description="bearer token of /v1/admin/*; secret; without one, admin calls are refused",
    )
    listeners_max: int = Field(
        default=1000,
        ge=0,
        description="most clients that may listen at once: over WebSockets, to events, or waiting for an answer",
    )
    log_level: LogLevel = Field(
        json_schema_extra=_RELOADABLE, default="info", description="debug, info, warning, error, critical"
    )
    log_format: Annotated[Literal["auto", "human", "json"], Lower] = Field(
        default="auto", description="auto (human on a terminal, else json), human, json"
    )
    shutdown_grace_s: Seconds = Field(default=10.0, description="seconds; time to drain at shutdown")

    _context: LoadContext = LoadContext()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the base's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base's
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base's
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Use only what `load` passes, because `load` reads the environment itself."""
        return (init_settings,)

    @model_validator(mode="before")
    @classmethod
    def _one_ttl_for_all(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Drop the default TTLs by interval if the one for all is given: they would override what was asked for."""
        return {"open_candle_ttls": empty_map()} | given if "open_candle_ttl_s" in given else given

    @property
    def given(self) -> frozenset[str]:
        """Return the names of the fields that the environment or `.env` set."""
        return self._context.given

    @property
    def ignored(self) -> tuple[str, ...]:
        """Return the names of Kubernetes' service-link variables that were ignored, sorted."""
        return self._context.ignored

    @property
    def https_proxy(self) -> SecretStr | None:
        """Return `HTTPS_PROXY` (either case) of the environment that was loaded; it may hold a password."""
        return self._context.https_proxy

    def stream_urls(self) -> dict[str, str]:
        """Return the stream bases by market, of the markets whose streams show what their REST upstream shows.

        A stream of Binance must not feed what another upstream answers, such as a test network's: a market whose
        upstream is not Binance's has streams only if their base is set, too.
        """
        if self.streams == "off":
            return {}
        return {
            market: str(getattr(self, f"{market}_ws_url"))
            for market in ("spot", "usdm", "coinm")
            if f"{market}_ws_url" in self.given or market not in self.other_upstreams()
        }

    def other_upstreams(self) -> list[str]:
        """Return the markets whose upstream is not one of Binance's own hosts: a test network, a simulator, a proxy."""
        markets = ("spot", "usdm", "coinm")
        return [market for market in markets if not _is_binance(str(getattr(self, f"{market}_url")))]

    def candle_ttl_s(self, interval: str) -> float:
        """Return how long the open candle of `interval` is fresh, in seconds."""
        return self.open_candle_ttls.get(interval, self.open_candle_ttl_s)

    def __repr_args__(self) -> Iterator[tuple[str, str]]:
        """Hide secrets in `repr` and `str`."""
        return ((name, display(getattr(self, name))) for name in type(self).model_fields)


def _is_binance(url: str) -> bool:
    """Return whether a URL is one of Binance's own hosts, and not of its test networks or its demo mode."""
    return _BINANCE_HOST.fullmatch(urlsplit(url).hostname or "") is not None


RELOADABLE = frozenset(
    name for name, field in Settings.model_fields.items() if field.json_schema_extra == _RELOADABLE
)  # settings that SIGHUP changes


class EffectiveSetting(NamedTuple):
    """One line of `check`: the variable, its value (secrets hidden), whether it is the default, and a note."""

    name: str
    value: str
    default: bool
    note: str


def display(value: object) -> str:
    """Return `value` as it would be written in the environment, with secrets and a URL's user part hidden."""
    match value:
        case None:
            return ""
        case SecretStr():
            return HIDDEN
        case bool():
            return str(value).lower()
        case float():
            return str(value).removesuffix(".0")
        case Mapping():
            return json.dumps(dict(value), separators=(",", ":"), ensure_ascii=False)
        case tuple():
            return ",".join(value)
    return re.sub(r"//.*@", f"//{HIDDEN}@", str(value))


def _note(settings: Settings, name: str) -> str:
    if name == "open_candle_ttls" and "open_candle_ttl_s" in settings.given and name not in settings.given:
        return f"none, because {PREFIX}OPEN_CANDLE_TTL_S is set"
    return ""


def effective(settings: Settings) -> list[EffectiveSetting]:
    """Return every setting in the order of the class, then `HTTPS_PROXY`, without secrets."""
    rows = [
        EffectiveSetting(
            PREFIX + name.upper(),
            display(getattr(settings, name)),
            name not in settings.given,
            _note(settings, name),
        )
        for name in Settings.model_fields
    ]
    proxy = settings.https_proxy
    text = re.sub(r"^(\w+://)?.*@", rf"\1{HIDDEN}@", proxy.get_secret_value()) if proxy else ""
    return [*rows, EffectiveSetting("HTTPS_PROXY", text, proxy is None, "honoured for REST and streams")]
