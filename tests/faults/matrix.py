"""All rows, tried side by side on a few benches."""

import queue
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from tests.faults.bench import FaultBench, benches
from tests.faults.clock_rows import CLOCKS
from tests.faults.disk_rows import DISK
from tests.faults.process_rows import PROCESS
from tests.faults.redis_rows import REDIS
from tests.faults.row import Row
from tests.faults.status_rows import STATUSES
from tests.faults.stream_rows import STREAMS
from tests.faults.trial import Outcome, Trial
from tests.faults.upstream_rows import UPSTREAM
from tests.support.sim_client import SimClient

ROWS = {"alone": (*UPSTREAM, *STATUSES, *PROCESS, *DISK), "pair": REDIS, "streamed": STREAMS}  # by their benches
ALONE = {"alone": CLOCKS}  # each of these needs the exchange for itself: they are tried one after the other


@contextmanager
def trying(
    exchange: SimClient,
    rows: Mapping[str, Collection[Row]],
    numbers: Mapping[str, int],
    during_s: float = 6.0,
    *,
    long: bool = False,
) -> Iterator[dict[str, "Future[Outcome]"]]:
    """Try these rows, in their `long` form or not; yield what comes of each, by its name.

    `numbers`: of benches of each kind; there is none of a kind that has no rows.
    """
    kinds = [kind for kind in rows if rows[kind] for _ in range(numbers[kind])]
    with benches(exchange, *kinds) as made, ExitStack() as stack:
        free: dict[str, queue.SimpleQueue[FaultBench]] = {kind: queue.SimpleQueue() for kind in kinds}
        for kind, bench in zip(kinds, made, strict=True):
            free[kind].put(bench)

        def run(kind: str, row: Row) -> Outcome:
            bench = free[kind].get()
            try:
                return Trial(bench, row).run(row.long_s if long and row.long_s else during_s)
            finally:
                free[kind].put(bench)

        futures: dict[str, Future[Outcome]] = {}
        for kind in free:
            pool = stack.enter_context(ThreadPoolExecutor(numbers[kind]))
            futures |= {row.name: pool.submit(run, kind, row) for row in rows[kind]}
        try:
            yield futures
        finally:
            for future in futures.values():
                future.cancel()
