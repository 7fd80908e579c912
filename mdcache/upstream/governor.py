"""The governor, the façade of this package: every read of Binance goes through it; there is one per address.

A read passes gate → budget → lane → concurrency → send, again for each attempt. `gate`, `budget` and `queue` decide;
`gate_keeper`, `budget_keeper` and `scheduler` hold each family's state; `sender` sends, and `retries` repeats.
"""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from mdcache.clock import Clock
from mdcache.errors import BodyFault, BudgetSpent, Fault, InvalidBody, UpstreamFailed, UpstreamUnavailable
from mdcache.events import BodyRejected, Events, Retried
from mdcache.exchange.markets import Family, Market
from mdcache.exchange.rate_limits import INITIAL_LIMIT, RequestBucket, weight_limit
from mdcache.upstream.admission import AdmissionFactory, LocalAdmission, SharingStatus
from mdcache.upstream.backoff import BackoffPolicy
from mdcache.upstream.checkpoint import saved_from_mapping, saved_to_mapping
from mdcache.upstream.exchange_clock import ExchangeClocks
from mdcache.upstream.gate_events import ForcedOpen, ForcedShut
from mdcache.upstream.handshakes import Handshakes
from mdcache.upstream.http_client import MarketClient, Transport
from mdcache.upstream.models import Fetchable
from mdcache.upstream.priority import Lane
from mdcache.upstream.request_quota import RequestQuota
from mdcache.upstream.retries import Retries
from mdcache.upstream.scheduler import FamilyScheduler, OnChange, SchedulerSettings
from mdcache.upstream.sender import Sender

_T = TypeVar("_T")
_LEASE_SPARE_S = 5.0  # added to the longest time of a read: after both, an unanswered probe counts as lost


@dataclass(frozen=True, slots=True)
class GovernorSettings:
    """The governor's settings, with the defaults of docs/design.md#settings."""

    weight_share: float = 0.5
    upstream_concurrency: int = 8
    upstream_timeout_s: float = 5.0
    retry_attempts: int = 4
    backoff_initial_s: float = 1.0
    backoff_max_s: float = 300.0


@dataclass(frozen=True, slots=True)
class FamilyStatus:
    """One family, for `/v1/status` and gauges. `used`: our weight in this UTC minute, of `allowed`; `address`: all.

    `short`: a read was refused in this minute or the last one because a limit was spent.
    """

    family: str
    gate_state: str
    gate_reason: str
    reopens_in_s: float
    used: int
    allowed: int
    address: int
    limit: int
    limit_known: bool
    queued: Mapping[str, int]
    in_flight: Mapping[str, int]
    concurrency: int
    short: bool


class Governor:
    """The only way to Binance. `transport` replaces the network, for all markets or for each.

    `admission`: makes the admission that is shared with other replicas, if there are any.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        rng: random.Random,
        events: Events,
        base_urls: Mapping[Market, str],
        settings: GovernorSettings,
        transport: Transport = None,
        trust_env: bool = True,
        admission: AdmissionFactory = LocalAdmission,
    ) -> None:
        self._clock = clock
        self._events = events
        self._settings = settings
        self._on_change: OnChange = _save_nothing
        self._known_limits: dict[Market, int] = {}
        self._request_quotas: dict[RequestBucket, RequestQuota] = {}
        self._clients = {
            market: MarketClient(
                url,
                timeout_s=settings.upstream_timeout_s,
                concurrency=settings.upstream_concurrency,
                transport=transport,
                trust_env=trust_env,
            )
            for market, url in base_urls.items()
        }
        self.clocks = ExchangeClocks(clock=clock, events=events, fetch=self.fetch)
        self._sender = Sender(clock=clock, events=events, clocks=self.clocks, clients=self._clients)
        policy = BackoffPolicy(
            initial_ms=int(settings.backoff_initial_s * 1000),
            max_ms=int(settings.backoff_max_s * 1000),
            ramp_top=settings.upstream_concurrency,
        )
        lease_ms = round((settings.upstream_timeout_s + _LEASE_SPARE_S) * 1000)
        scheduling = SchedulerSettings(
            policy, settings.weight_share, settings.upstream_concurrency, lease_ms, admission
        )
        self._schedulers = {
            family: FamilyScheduler(
                family,
                clock=clock,
                rng=rng,
                events=events,
                clocks=self.clocks,
                settings=scheduling,
                send=self._sender.send,
                on_change=self._changed,
            )
            for family in Family
        }
        self.handshakes = Handshakes(self._schedulers)
        self._retries = Retries(settings.retry_attempts, settings.backoff_initial_s, settings.backoff_max_s, clock, rng)

    async def start(self) -> None:
        """Connect to the other replicas, if there are any, before the first read; from now on, probe unasked."""
        await asyncio.gather(*(scheduler.start() for scheduler in self._schedulers.values()))

    async def fetch(self, read: Fetchable[_T]) -> _T:
        """Send a read to Binance when it is its turn, and retry if that may help.

        Returns:
            What `read.accept` returns for the reply.

        Raises:
            GateClosed: at once if the family's gate is closed, also if this read's own reply closed it.
            BudgetSpent, LaneFull, DeadlinePassed: it can't be sent in time.
            TransportFailed, ServerFailed, InvalidBody: after the last attempt.
            Refusal: Binance's own.
        """
        scheduler = self._schedulers[read.market.family]
        answered = False

        async def attempt() -> _T:
            nonlocal answered
            queued = scheduler.submit(read)
            try:
                value: _T = await queued.future
            except InvalidBody as error:
                path = queued.request.path if queued.request is not None else ""
                self._events.emit(BodyRejected(read.market.value, path, error.reason, error.detail))
                raise
            finally:
                answered = queued.answered
                scheduler.abandon(queued)
            return value

        def retried(reason: Fault | BodyFault) -> None:
            self._events.emit(Retried(read.market.value, reason))

        try:
            return await self._retries.run(attempt, lambda: read.priority.deadline_s, retried)
        except UpstreamFailed as error:
            if not (answered and isinstance(error, InvalidBody)):  # else only the question failed, not the family
                scheduler.gate_keeper.record_failure()
                scheduler.pump()
            raise

    def refusal_now(
        self, market: Market, lane: Lane, weight: int, *, paced: bool = False
    ) -> UpstreamUnavailable | None:
        """Return the error that such a read would raise now (docs/design.md#cannot-ask), or `None`; spend nothing.

        With `paced`, also if only the pacing of refreshes (docs/design.md#pacing) delays it.
        """
        return self._schedulers[market.family].refusal_now(lane, weight, paced=paced)

    def set_limits(self, market: Market, rate_limits: object) -> None:
        """Set the decoded `exchangeInfo.rateLimits` of a market; the smallest limit of a family counts."""
        self._known_limits[market] = weight_limit(market, rate_limits)
        family = market.family
        known = [limit for each, limit in self._known_limits.items() if each.family is family]
        self._schedulers[family].budget_keeper.set_limit(min(known, default=INITIAL_LIMIT))
        self._schedulers[family].pump()

    def allowed(self, market: Market) -> int:
        """Return the weight per minute that we may spend in the market's family, ignoring a halved share."""
        return self._schedulers[market.family].budget_keeper.budget.allowed

    @property
    def share(self) -> float:
        """Our part of every limit."""
        return self._settings.weight_share

    def count_request(self, bucket: RequestBucket) -> None:
        """Count a request that is about to be sent in its path's request limit; raise `BudgetSpent` if it is reached.

        Replicas do not share these counts: each has its part of the limit.
        """
        counts = self._request_quotas.setdefault(bucket, RequestQuota(bucket, self._settings.weight_share))
        replicas = max(scheduler.admission.replicas for scheduler in self._schedulers.values())
        wait_s = counts.take(self._clock.now(), replicas)
        if wait_s:
            futures = self._schedulers[Family.FUTURES]  # docs/binance.md#request-limits: only its paths
            error = BudgetSpent(wait_s, f"the request limit of {bucket.name} is spent")
            raise futures.shortage.record(error, Lane.NORMAL, futures.now().number)

    def reported_usage(self, market: Market) -> tuple[int, int | None]:
        """Return the UTC minute, and the usage that Binance reported in it for the market's family, if it did."""
        minute = self._schedulers[market.family].this_minute()
        return minute.number, minute.header

    def status(self) -> tuple[FamilyStatus, ...]:
        """Return the current state of each family."""
        return tuple(self._status(scheduler) for scheduler in self._schedulers.values())

    def sharing(self) -> dict[str, SharingStatus]:
        """Return how each family is shared with other replicas; empty if there are none."""
        found = {family.value: scheduler.admission.status() for family, scheduler in self._schedulers.items()}
        return {family: status for family, status in found.items() if status is not None}

    def close_gate(self, family: Family, seconds: float) -> None:
        """Close a family's gate for a while, by the operator's order; it reopens with a probe."""
        self._force(family, ForcedShut(int(seconds * 1000)))

    def open_gate(self, family: Family) -> None:
        """Open a family's gate at once and reset it, by the operator's order, after a change of address."""
        self._force(family, ForcedOpen())

    def subscribe(self, on_change: OnChange) -> None:
        """Call `on_change` in each step that changes what should be saved."""
        self._on_change = on_change

    def saved_state(self, boot: str) -> dict[str, object]:
        """Return gates and budgets to save, by family; `boot` names the boot since which the clock counts."""
        return {
            family.value: saved_to_mapping(scheduler.checkpoint.save(boot))
            for family, scheduler in self._schedulers.items()
        }

    def restore(self, plain: Mapping[str, object] | None, boot: str) -> bool:
        """Restore what `saved_state` returned, before the first read; `None`: there is one, but it is unreadable.

        Return whether all of it could be read. A family that could not starts with a probe; one that is not in it
        starts open.
        """
        sound = plain is not None
        for family, scheduler in self._schedulers.items():
            try:
                if plain is None or family.value in plain:
                    scheduler.checkpoint.restore(
                        None if plain is None else saved_from_mapping(plain[family.value]), boot
                    )
            except (KeyError, ValueError, TypeError, OverflowError):
                scheduler.checkpoint.restore(None, boot)
                sound = False
        return sound

    async def aclose(self) -> None:
        """Close everything: queues, measurements, reads in progress, connections."""
        for scheduler in self._schedulers.values():
            await scheduler.aclose()
        await self.clocks.aclose()
        await self._sender.aclose()
        await asyncio.gather(*(scheduler.admission.aclose() for scheduler in self._schedulers.values()))
        await asyncio.gather(*(client.aclose() for client in self._clients.values()))

    # ------------------------------------------------------------------------------------ parts

    def _changed(self, *, gate: bool) -> None:
        self._on_change(gate=gate)

    def _force(self, family: Family, event: ForcedOpen | ForcedShut) -> None:
        scheduler = self._schedulers[family]
        scheduler.gate_keeper.step(event)
        scheduler.pump()

    def _status(self, scheduler: FamilyScheduler) -> FamilyStatus:
        budget, keeper = scheduler.budget_keeper.budget, scheduler.gate_keeper
        minute = scheduler.this_minute()
        return FamilyStatus(
            family=scheduler.family.value,
            gate_state=keeper.gate.state.value,
            gate_reason=keeper.gate.reason.value,
            reopens_in_s=keeper.reopens_in_s(),
            used=minute.ours,
            allowed=int(budget.allowed * keeper.share_factor()),
            address=minute.address,
            limit=budget.limit,
            limit_known=any(market.family is scheduler.family for market in self._known_limits),
            queued={lane.value: scheduler.queue.waiting(lane) for lane in Lane},
            in_flight={
                market.value: scheduler.in_flight[market] for market in Market if market.family is scheduler.family
            },
            concurrency=self._settings.upstream_concurrency,
            short=scheduler.shortage.lately(minute.number),
        )


def _save_nothing(*, gate: bool) -> None:
    """Do nothing: nothing is saved."""
