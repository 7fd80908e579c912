"""All rows, tried side by side on a few benches."""

import queue
from collections.abc import Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from tests.faults.bench import FaultBench, benches
from tests.faults.clock_rows import CLOCKS
from tests.faults.process_rows import PROCESS
from tests.faults.row import Row
from tests.faults.status_rows import STATUSES
from tests.faults.trial import Outcome, Trial
from tests.faults.upstream_rows import UPSTREAM
from tests.support.sim_client import SimClient

ROWS = (*UPSTREAM, *STATUSES, *PROCESS)
ALONE = CLOCKS  # each of these needs the exchange for itself: they are tried one after the other


@contextmanager
def trying(
    exchange: SimClient, rows: Collection[Row], number: int, during_s: float = 6.0, *, long: bool = False
) -> Iterator[dict[str, "Future[Outcome]"]]:
    """Try these rows, in their `long` form or not; yield what comes of each, by its name."""
    with benches(exchange, number) as made, ThreadPoolExecutor(number) as pool:
        free: queue.SimpleQueue[FaultBench] = queue.SimpleQueue()
        for bench in made:
            free.put(bench)

        def run(row: Row) -> Outcome:
            bench = free.get()
            try:
                return Trial(bench, row).run(row.long_s if long and row.long_s else during_s)
            finally:
                free.put(bench)

        futures = {row.name: pool.submit(run, row) for row in rows}
        try:
            yield futures
        finally:
            for future in futures.values():
                future.cancel()
