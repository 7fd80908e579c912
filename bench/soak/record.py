"""What a soak saw, one JSON object a line, so that it can be judged and drawn again from the file."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Entry = dict[str, Any]  # `kind` and `at_s` (since 1970), and what its kind has


class Record:
    """All entries of a run, oldest first; those that are added are written to `file`, if there is one."""

    def __init__(self, entries: list[Entry], file: Path | None = None) -> None:
        self.entries = entries
        self._file = None if file is None else file.open("a", buffering=1)

    def add(self, kind: str, **fields: object) -> None:
        """Add an entry; `at_s` is now, unless it is given."""
        entry = {"kind": kind, "at_s": round(time.time(), 3)} | fields
        self.entries.append(entry)
        if self._file is not None:
            self._file.write(json.dumps(entry) + "\n")

    def of(self, kind: str) -> Iterator[Entry]:
        """Yield the entries of a kind."""
        return (entry for entry in self.entries if entry["kind"] == kind)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def read_record(file: Path) -> Record:
    """Read what was written; raises `OSError` and `ValueError`."""
    return Record([json.loads(line) for line in file.read_text().splitlines()])
