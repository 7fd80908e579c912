"""The closed sets that label values come from. Their words are those of the modules that emit the events."""

from mdcache.telemetry.counters import ClosedSet

MARKETS = ("spot", "usdm", "coinm")
FAMILIES = ("spot", "futures")
GATE_STATES = ("open", "closed", "probing", "ramp")
GATE_REASONS = ("429", "418", "403", "451", "failures", "operator")
LANES = ("high", "normal", "low")
RESULTS = ("hit", "miss", "partial", "collapsed", "stale", "refused", "error")
KLINES = (
    "klines",
    "uiKlines",
    "continuousKlines",
    "indexPriceKlines",
    "markPriceKlines",
    "premiumIndexKlines",
)
SNAPSHOTS = (  # the tails of `exchange/endpoints.py`; a test compares
    "executionRules",
    "depth",
    "trades",
    "historicalTrades",
    "aggTrades",
    "avgPrice",
    "ticker/24hr",
    "ticker/tradingDay",
    "ticker",
    "ticker/price",
    "ticker/bookTicker",
    "referencePrice",
    "referencePrice/calculation",
    "rpiDepth",
    "premiumIndex",
    "fundingRate",
    "fundingInfo",
    "openInterest",
    "indexInfo",
    "assetIndex",
    "constituents",
    "insuranceBalance",
    "symbolAdlRisk",
    "tradingSchedule",
    "openInterestHist",
    "topLongShortAccountRatio",
    "topLongShortPositionRatio",
    "globalLongShortAccountRatio",
    "takerlongshortRatio",
    "basis",
    "delivery-price",
    "takerBuySellVol",
)
ENDPOINTS = (*KLINES, "time", "ping", "exchangeInfo", *SNAPSHOTS)
STATUSES = ("0", "200", "400", "401", "403", "404", "408", "418", "429", "451", "500", "502", "503", "504")
# Of `UpstreamFailed.reason`; a test looks for every one of them in the sources.
FAULTS = (
    "5xx",
    "backend-timeout",
    "close",
    "connect",
    "os",
    "pool",
    "protocol",
    "proxy",
    "read",
    "replica",
    "shows-less",
    "status",
    "timeout",
    "transport",
    "unknown",
    "url",
    "write",
)
BODY_REASONS = (
    "behind",
    "lacks",
    "close-time",
    "columns",
    "empty",
    "encoding",
    "interval",
    "no-progress",
    "not-asked",
    "not-a-list",
    "not-exchange-info",
    "not-json",
    "not-rows",
    "order",
    "prices",
    "too-large",
    "too-many-rows",
    "types",
    "window",
)

# Of the reads, and of what `BackgroundTaskFailed` says was given up; tests look for every one of them in the sources.
REASONS = ("rows", "refresh", "close", "check", "snapshot", "list", "symbols", "clock")
FAILURES = ("clock", "copy", "fetch", "flight", "loop", "request", "sharing", "subscription", "symbols", "warming")
TIERS = ("disk", "redis")
OPS = (
    *("open", "load", "write", "purge", "gate", "symbols"),
    *("budget", "goodbye", "pull", "push", "renew", "release", "scan", "purges", "subscribe", "close"),
)

market = ClosedSet(MARKETS)
family = ClosedSet(FAMILIES)
gate_reason = ClosedSet(GATE_REASONS)
lane = ClosedSet(LANES)
result = ClosedSet(RESULTS)
endpoint = ClosedSet(ENDPOINTS)
status = ClosedSet(STATUSES)
reason = ClosedSet(REASONS)
failure = ClosedSet(FAILURES)
retry_reason = ClosedSet((*FAULTS, *BODY_REASONS))
body_reason = ClosedSet(BODY_REASONS)
tier = ClosedSet(TIERS)
op = ClosedSet(OPS)
