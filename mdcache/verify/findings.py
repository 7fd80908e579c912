"""What measuring finds about one fact. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from mdcache.exchange.fact_kinds import FactValue
from mdcache.exchange.facts import Fact


class FactVerdict(StrEnum):
    """How what was seen compares with what is assumed."""

    AS_ASSUMED = "as assumed"
    DIFFERS = "differs"
    NOT_MEASURED = "not measured"


class NotMeasured(Exception):
    """Something could not be measured; the text says why."""


Seen = Mapping[str, FactValue | NotMeasured]  # by the name of a fact within its market


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one fact. `value`: `None` if it was not measured, and `reason` says why."""

    fact: Fact
    verdict: FactVerdict
    value: FactValue | None
    reason: str
    follows: str


def finding(fact: Fact, seen: FactValue | NotMeasured, follows: str) -> Finding:
    """Compare a value that was seen with what is assumed; one that is out of bounds counts as not measured."""
    if isinstance(seen, NotMeasured):
        return Finding(fact, FactVerdict.NOT_MEASURED, None, str(seen), follows)
    fault = fact.kind.fault(seen)
    if fault is not None:
        return Finding(fact, FactVerdict.NOT_MEASURED, None, f"{printed(seen)} {fault}", follows)
    verdict = FactVerdict.AS_ASSUMED if fact.agrees(seen) else FactVerdict.DIFFERS
    return Finding(fact, verdict, seen, "", follows)


def printed(value: FactValue) -> str:
    """Return a value as text for people."""
    match value:
        case bool():
            return "yes" if value else "no"
        case Mapping():
            return ", ".join(f"{name}: {number}" for name, number in value.items()) or "none"
    return str(value)
