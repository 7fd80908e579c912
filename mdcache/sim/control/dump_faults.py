"""The faults of dump files, as seen at Binance's (docs/sim.md#dump-files)."""

from dataclasses import dataclass
from typing import Literal, get_args

ReplyFault = Literal["403", "404", "503", "truncate", "slow", "stale_checksum", "damaged"]  # how a file is sent
RowsFault = Literal["header", "no_header", "milliseconds", "row", "lost_rows"]  # what is in it
ROWS_FAULTS: frozenset[str] = frozenset(get_args(RowsFault))
DUMP_FAULT_KINDS: frozenset[str] = ROWS_FAULTS | frozenset(get_args(ReplyFault))


@dataclass(frozen=True, slots=True)
class DumpFault:
    """One fault of the files whose path contains `contains`, checksums included.

    `open_ms`, `rows`: the first row that differs or is lost (`None`: the one in the middle), and how many are lost.
    `bytes_s`: how fast a slow body comes.
    """

    kind: str
    contains: str = ""
    open_ms: int | None = None
    rows: int = 60
    bytes_s: int = 10_000

    def __post_init__(self) -> None:
        """Refuse a kind that there is not, and numbers that mean nothing."""
        if self.kind not in DUMP_FAULT_KINDS:
            raise ValueError(f"no such fault: {self.kind!r}; there are: {', '.join(sorted(DUMP_FAULT_KINDS))}")
        if self.rows < 1 or self.bytes_s < 1:
            raise ValueError("rows and bytes_s are at least 1")
