"""docs/configuration.md, made from the settings class and the capacity plan."""

import re
from dataclasses import dataclass, replace

from mdcache.capacity import COMMON_INTERVALS, CapacityPlan, Demand, describe, plan
from mdcache.cli.check import plan_terms
from mdcache.exchange.intervals import INTERVALS
from mdcache.exchange.markets import Market
from mdcache.exchange.rate_limits import DEFAULT_LIMIT
from mdcache.settings import RELOADABLE, Settings
from mdcache.settings.model import PREFIX, display

TTLS_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
SERIES = (10, 50, 120, 300, 1_000)


@dataclass(frozen=True)
class Group:
    """Settings that are decided on together. `advice` is printed below their table."""

    title: str
    names: tuple[str, ...]
    advice: str = ""


GROUPS = (
    Group(
        "Where it listens",
        ("host", "port", "allowed_hosts", "cors_origins", "compress", "listeners_max", "admin_token"),
        "Loopback is the default. To serve other hosts set `MDCACHE_HOST=0.0.0.0`, and put TLS in front if the network "
        "is not yours alone ([Deploying](deploy.md#nginx)). The admin paths answer 403 until a token is set. The "
        "status page, `/v1/status`, `/v1/series` and `/v1/admin` are served under IP addresses, this machine's own "
        "name, `MDCACHE_HOST`, names without a dot and those of `.localhost` and `.internal`; list others in "
        "`MDCACHE_ALLOWED_HOSTS`.",
    ),
    Group(
        "Where Binance is",
        ("spot_url", "usdm_url", "coinm_url", "spot_ws_url", "usdm_ws_url", "coinm_ws_url", "unknown_paths"),
        "Another mdcache can be the upstream. Stored rows belong to these URLs: those of a test network never mix with "
        "real ones. `HTTPS_PROXY` and `SSL_CERT_FILE` of the environment (not of `.env`) are honoured: a proxy, and a "
        "file of certificates to trust instead of the public ones.",
    ),
    Group(
        "How fresh candles are",
        (
            "open_candle_ttl_s",
            "open_candle_ttls",
            "settle_s",
            "confirm_s",
            "streams",
            "stream_idle_s",
            "derive",
            "max_stale_s",
        ),
        "What a TTL costs is shown [below](#what-ttls-cost). `MAX_STALE_S` matters only while Binance can't be asked: "
        "an answer past its TTL is marked `detail=stale`, and past this age it is refused with 503. Whatever these "
        "say, an answer with the open candle is never served past that candle's close. `OPEN_CANDLE_TTL_S` alone is "
        "the TTL of all intervals; a table in `OPEN_CANDLE_TTLS` replaces the default one. One program that needs a "
        "series fresher sends [`Cache-Control: max-age=1`](clients.md#request-headers). An [exchange "
        "profile](operating.md#the-exchange-profile) may lengthen `SETTLE_S` and `CONFIRM_S`, and shorten the last "
        "to 30 s where it isn't set.",
    ),
    Group(
        "How fresh everything else is",
        ("exchange_info_ttl_s", "invalid_symbol_ttl_s", "snapshot_ttl_s", "snapshot_ttls"),
        "A snapshot's default TTL is the larger of `SNAPSHOT_TTL_S` and weight × 60 / (a tenth of the minute's "
        "allowance): one question that is asked all the time may spend a tenth of what is allowed. "
        "[Paths, weights and ages](paths.md) has every path's; `mdcache check` prints them under your settings.",
    ),
    Group(
        "How much may be spent",
        (
            "weight_share",
            "egress",
            "replicas",
            "upstream_concurrency",
            "clients",
            "client_requests_per_s",
            "audit_rows_per_hour",
        ),
        "`WEIGHT_SHARE` is a share of the *address's* limit; leave the rest to whatever else calls Binance from there, "
        "orders above all. Nothing is sent that would take the address past nine tenths of the limit. `CLIENTS` maps "
        'names to lanes: `{"engine":"high","ai":"normal","backtest":"low"}`; each lane keeps a tenth of the share. '
        "`CLIENT_REQUESTS_PER_S` keeps one program from [flooding](security.md#the-port) the others. "
        "An [audit](operations-api.md#audit) of 5,000 rows costs some 20 weight. "
        "Change `EGRESS` when the daemon moves to another address: a ban belongs to the old one.",
    ),
    Group(
        "How long things may take",
        (
            "request_deadline_s",
            "upstream_timeout_s",
            "retry_attempts",
            "backoff_initial_s",
            "backoff_max_s",
            "shutdown_grace_s",
        ),
        "Most libraries give up after 10 s. Keep `REQUEST_DEADLINE_S` below that, so that they get a 503 with "
        "`Retry-After` rather than no answer.",
    ),
    Group(
        "What it may keep",
        ("memory_max_mb", "state_dir", "persist", "disk_max_mb", "redis_url", "redis_prefix", "redis_timeout_s"),
        "One daemon at a time works in a `STATE_DIR`; [State on disk](disk.md) says what is in it, and how many bytes "
        "a candle takes. `mdcache_rows_bytes` is what memory holds.",
    ),
    Group("What it logs", ("log_level", "log_format")),
)

HEAD = """\
# Configuration

Every setting is an environment variable with the prefix `MDCACHE_`, or a line of a `.env` file in the working folder
(the environment wins). Names ending in `_S` are decimal seconds (in `_PER_S`: so many a second), those in `_MB` whole
megabytes. A misspelt name or a bad value ends `serve` and `check` with exit code 2; all problems are reported at once,
each with what would be right.

```console
$ mdcache check                # what is in effect, secrets hidden
$ mdcache check --plan 20x6    # what 20 symbols × 6 intervals would cost, and whether that fits
```

The tables are made from the settings class, so their names, defaults and meanings are those of the code; the text
between them is written by hand, in `tools/configuration.py`. *Live*: SIGHUP changes it.

## Changing settings while it runs

SIGHUP (`systemctl reload mdcache`, `docker kill -s HUP`) reads the file of settings again, `.env` or that of
`--env-file`. What is marked *live* below counts at once, also for answers that are kept ready; of what is not, the log
says that it `needs_restart`, and so does `/v1/status`. If anything in the file is wrong, or the file is gone, nothing
is changed: one line of the log (`settings_refused`) names all problems, `/readyz` and the status page show that there
are some, and `mdcache_settings_refused` is 1 until a reload succeeds.

The environment of a running process can't be changed, and it wins over the file: what is to change live must stand in
the file only. Options of the command line stay as they are. A line that is gone means the default.
"""

ADVICE = """\
## What TTLs cost

Where no stream feeds it, a series whose open candle is asked for all the time is read once per TTL, however many
programs ask; with `DERIVE`, that goes for the shortest interval of a symbol only, and the longer ones of which its page
holds two candles cost a read at each of their closes. A read of the tail weighs 2 on spot and 1 on futures, whatever
`limit` the programs use; settled rows cost nothing. Weight a minute, in **bold** if it is more than the default share
of the limit ({spot:,} on spot, {futures:,} on futures, where usdm and coinm share one limit):

{table}

Three things lower it, in this order:

1. **Older candles where it doesn't matter.** A daily candle that is 20 s old is as good as new to most programs, so
   the default TTLs grow with the interval. Let them grow further, or for all: `MDCACHE_OPEN_CANDLE_TTL_S=5`. A caller
   that needs a series fresher sends `Cache-Control: max-age=2`, and only that series costs more.
2. **A TTL that fits the consumers' rhythm.** Three programs that ask every 5 s ask for a series every 1.7 s: with a TTL
   of 2 s every second question reads, with 3.4 s every third. `--consumers 3` takes that into account.
3. **A larger share**, if the address has nothing else to do.

If the demand does not fit, nothing breaks: each minute's weight is spent before the minute ends, and until the next one
answers grow older, marked, up to `MAX_STALE_S`. Measured in the simulation at 1.2 times what was allowed: up to 13.5 s,
13 % of the answers marked; at 2.4 times: up to 30 s, 56 % marked.

## The calculator

`--plan` takes symbols × intervals: a number (the first of {usual}) or names, `20x1m,5m,1h`.

| Option | Default | Meaning |
|---|---|---|
| `--market` | `spot` | `spot`, `usdm`, `coinm` |
| `--consumers`, `--every` | 0, 5 | programs that ask for all of it, and seconds between rounds; 0: always asked |
| `--rows` | 500 | rows of each question, which the first fill pays for |
| `--json` | | for machines |

It exits with 1 if the plan does not fit. The incident that mdcache was built for, at default settings:

```console
$ mdcache check --plan 20x6 --consumers 3
{incident}
```

It counts on streams, unless `MDCACHE_STREAMS=off` or the market's upstream is not Binance and has no stream base: one
topic for each series, and one for the market that tells which symbols were traded. A close costs nothing on spot. On
futures, where the final frame comes 2 s late, it costs one read of each series that somebody asks for before. The plan
can't know which symbols are traded seldom; their series cost more reads, so in its worst case (`worst` with `--json`)
streams spare nothing.

Snapshots, histories (`mdcache warm`), retries and re-reads come on top. In the tests its figures are compared with what
the simulated exchange charged in minutes of polling: they agree within 2 %.
"""


def text() -> str:
    """Return the whole page."""
    parts = [HEAD, *(_group(group) for group in GROUPS)]
    table = _table()
    default = Settings.model_fields["weight_share"].default
    allowed = {market: int(DEFAULT_LIMIT[market.family] * default) for market in (Market.SPOT, Market.USDM)}
    incident = "\n".join(describe(_plan(Demand(Market.SPOT, 20, COMMON_INTERVALS[:6], consumers=3))))
    usual = ", ".join(f"`{name}`" for name in COMMON_INTERVALS)
    parts.append(
        ADVICE.format(
            table=table, spot=allowed[Market.SPOT], futures=allowed[Market.USDM], incident=incident, usual=usual
        )
    )
    return "\n".join(parts)


def _group(group: Group) -> str:
    head = [f"## {group.title}", "", "| Name | Default | Live | Meaning |", "|---|---|---|---|"]
    body = [_row(name) for name in group.names]
    return "\n".join([*head, *body, *(["", group.advice] if group.advice else []), ""])


def _row(name: str) -> str:
    field = Settings.model_fields[name]
    if name == "state_dir":
        default = "the platform's"
    else:
        value = display(field.get_default(call_default_factory=True))
        default = f"`{value}`" if value else "none"
    meaning = re.sub(r"(\{.*\})", r"`\1`", (field.description or "").replace("*", r"\*"))
    live = "yes" if name in RELOADABLE else ""
    return f"| `{PREFIX}{name.upper()}` | {default} | {live} | {meaning} |"


def _table() -> str:
    head = "| TTL | " + " | ".join(f"{n:,} series" for n in SERIES) + " |"
    found = []
    for market, label in ((Market.SPOT, "spot"), (Market.USDM, "futures")):
        for ttl_s in TTLS_S:
            plans = [_plan(Demand(market, n, ("1h",)), ttl_s) for n in SERIES]
            found.append(f"| {label}, {ttl_s:g} s | " + " | ".join(_weight(each) for each in plans) + " |")
    return "\n".join([head, "|---|" + "---|" * len(SERIES), *found])


def _weight(found: CapacityPlan) -> str:
    return f"{found.tails:,.0f}" if found.fits else f"**{found.tails:,.0f}**"


def _plan(asked: Demand, ttl_s: float | None = None) -> CapacityPlan:
    """The plan at default settings; if a TTL is given, with it for all intervals, and polling only."""
    terms = plan_terms(Settings(), asked.market)
    if ttl_s is not None:
        terms = replace(terms, ttls_s=dict.fromkeys(INTERVALS, ttl_s), streams=False, derive=False)
    return plan(asked, terms)
