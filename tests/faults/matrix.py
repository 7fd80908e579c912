"""All faults, tried side by side on a few benches."""

import queue
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from tests.faults.bench import FaultBench, benches
from tests.faults.case import Case
from tests.faults.clock_faults import CLOCKS
from tests.faults.disk_faults import DISK
from tests.faults.process_faults import PROCESS
from tests.faults.redis_faults import REDIS
from tests.faults.stalls import MOST_S, Stalls
from tests.faults.status_faults import STATUSES
from tests.faults.stream_faults import STREAMS
from tests.faults.trial import Outcome, Trial
from tests.faults.upstream_faults import UPSTREAM
from tests.support.sim_client import SimClient

CASES = {"alone": (*UPSTREAM, *STATUSES, *PROCESS, *DISK), "pair": REDIS, "streamed": STREAMS}  # by their benches
ALONE = {"alone": CLOCKS}  # each of these needs the exchange for itself: they are tried one after the other


@contextmanager
def trying(
    exchange: SimClient,
    cases: Mapping[str, Collection[Case]],
    numbers: Mapping[str, int],
    during_s: float = 6.0,
    *,
    long: bool = False,
) -> Iterator[dict[str, "Future[Outcome]"]]:
    """Try these faults, in their `long` form or not; yield what comes of each, by its name.

    `numbers`: of benches of each kind; there is none of a kind that has no faults.
    """
    kinds = [kind for kind in cases if cases[kind] for _ in range(numbers[kind])]
    with benches(exchange, *kinds) as made, ExitStack() as stack:
        free: dict[str, queue.SimpleQueue[FaultBench]] = {kind: queue.SimpleQueue() for kind in kinds}
        for kind, bench in zip(kinds, made, strict=True):
            free[kind].put(bench)

        def run(kind: str, case: Case) -> Outcome:
            bench = free[kind].get()
            try:
                return _tried(bench, case, case.long_s if long and case.long_s else during_s)
            finally:
                free[kind].put(bench)

        futures: dict[str, Future[Outcome]] = {}
        for kind in free:
            pool = stack.enter_context(ThreadPoolExecutor(numbers[kind]))
            futures |= {case.name: pool.submit(run, kind, case) for case in cases[kind]}
        try:
            yield futures
        finally:
            for future in futures.values():
                future.cancel()


def _tried(bench: FaultBench, case: Case, during_s: float, attempts: int = 3) -> Outcome:
    """Try a row, and again if a promise was broken while the machine or the simulated exchange stalled."""
    with Stalls() as stalls:
        outcome = Trial(bench, case).run(during_s)
    worst_s = max(stalls.worst_s, *(each.wire.slowest_s for each in bench.all))
    if attempts > 1 and worst_s >= MOST_S and any(outcome.broken.values()):
        return _tried(bench, case, during_s, attempts - 1)
    return outcome
