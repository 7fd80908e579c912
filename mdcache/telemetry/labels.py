"""The closed sets of label values, taken from the enums that the emitting code uses."""

from mdcache.errors import BodyFault, Fault
from mdcache.events import AuditVerdict, BackgroundTask, DerivationResult, DumpVerdict, ReadReason, RetryReason
from mdcache.exchange.endpoints import ENDPOINTS as SNAPSHOT_ENDPOINTS
from mdcache.exchange.markets import KLINE_ENDPOINTS, Family, Market
from mdcache.results import Result
from mdcache.store_events import StoreOp, Tier
from mdcache.stream_events import ConnectReason, StreamEnd
from mdcache.telemetry.counters import ClosedSet
from mdcache.upstream.backoff import ClosureReason
from mdcache.upstream.gate import GateState
from mdcache.upstream.priority import Lane

MARKETS = tuple(Market)
FAMILIES = tuple(Family)
GATE_STATES = tuple(GateState)
GATE_REASONS = tuple(each for each in ClosureReason if each is not ClosureReason.NONE)
LANES = tuple(Lane)
RESULTS = tuple(Result)
KLINES = tuple(dict.fromkeys(each.kind for each in KLINE_ENDPOINTS.values()))
SNAPSHOTS = tuple(dict.fromkeys(each.short_path for found in SNAPSHOT_ENDPOINTS.values() for each in found))
NATIVE = ("candles", "price", "stream", "udf")
ENDPOINTS = (*KLINES, "time", "ping", "exchangeInfo", *SNAPSHOTS, *NATIVE)
STATUSES = ("0", "200", "400", "401", "403", "404", "408", "418", "429", "451", "500", "502", "503", "504")
# a read that makes no progress fails after its replies were accepted; an unknown status is not tried again
BODY_REASONS = tuple(each for each in BodyFault if each is not BodyFault.NO_PROGRESS)
RETRY_REASONS = (*(each for each in Fault if each is not Fault.STATUS), *BODY_REASONS, *RetryReason)
REASONS = tuple(ReadReason)
FAILURES = tuple(BackgroundTask)
AUDIT_VERDICTS = tuple(AuditVerdict)
DERIVATION_RESULTS = tuple(DerivationResult)
DUMP_VERDICTS = tuple(DumpVerdict)
TIERS = tuple(Tier)
OPS = tuple(StoreOp)
CONNECT_REASONS = tuple(ConnectReason)
STREAM_ENDS = tuple(StreamEnd)

market = ClosedSet(MARKETS)
family = ClosedSet(FAMILIES)
gate_reason = ClosedSet(GATE_REASONS)
lane = ClosedSet(LANES)
result = ClosedSet(RESULTS)
endpoint = ClosedSet(ENDPOINTS)
status = ClosedSet(STATUSES)
reason = ClosedSet(REASONS)
failure = ClosedSet(FAILURES)
retry_reason = ClosedSet(RETRY_REASONS)
body_reason = ClosedSet(BODY_REASONS)
audit_verdict = ClosedSet(AUDIT_VERDICTS)
derivation_result = ClosedSet(DERIVATION_RESULTS)
dump_verdict = ClosedSet(DUMP_VERDICTS)
tier = ClosedSet(TIERS)
op = ClosedSet(OPS)
connect_reason = ClosedSet(CONNECT_REASONS)
stream_end = ClosedSet(STREAM_ENDS)
