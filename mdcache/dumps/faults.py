"""Errors of dump files, and of the place that has them."""

from dataclasses import dataclass
from enum import StrEnum

from mdcache.errors import MdcacheError


class DumpFileFault(StrEnum):
    """Why a dump file can't be used."""

    CHECKSUM = "checksum"
    DAMAGED = "damaged"
    MISSING = "missing"
    TOO_LARGE = "too large"


@dataclass(eq=False)
class DumpUnusable(MdcacheError):
    """A dump file can't be used: what it should contain is left to be read. `detail` is for people."""

    fault: DumpFileFault
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.fault}: {self.detail}" if self.detail else self.fault.value


class DumpsUnavailable(MdcacheError):
    """The dump host refuses or can't be reached, or the folder can't be read: no file is tried any more."""
