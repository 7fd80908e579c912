"""The exchange profile: what `mdcache verify` measured, as a file in JSON (docs/design.md#exchange-profile). Pure.

The file is untrusted input: what is not valid in it is left out and reported, and the rest counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from mdcache.exchange.fact_kinds import FactValue
from mdcache.exchange.facts import FACTS
from mdcache.exchange.markets import Market
from mdcache.exchange.origin import origin
from mdcache.exchange.undecodable import UNDECODABLE

FILE_NAME = "exchange-profile.json"  # in STATE_DIR
MAX_BYTES = 262_144  # a profile of all facts has less than a tenth of it
VERSION = 1
_MEMBERS = frozenset({"version", "measured_at_ms", "mdcache", "hosts", "facts"})
_MAX_MOMENT_MS = 10**14
_MAX_PROBLEMS = 20
_MAX_TEXT = 60


@dataclass(frozen=True, slots=True)
class Profile:
    """What was measured when, at which hosts. `mdcache`: the version that measured; `facts`: by key."""

    measured_at_ms: int
    mdcache: str
    hosts: Mapping[Market, str]
    facts: Mapping[str, FactValue]

    def value(self, market: Market, name: str) -> FactValue | None:
        """Return what was measured of a market; `None` if it was not."""
        return self.facts.get(f"{market.value}.{name}")


@dataclass(frozen=True, slots=True)
class ProfileReading:
    """A profile, or `None` if nothing of its file counts, and what is wrong with the rest."""

    profile: Profile | None
    problems: tuple[str, ...] = ()


def print_profile(profile: Profile) -> bytes:
    """Return the file of a profile.

    Raises:
        ValueError: a key is unknown, or a value out of bounds.
    """
    for key, value in profile.facts.items():
        fault = FACTS[key].kind.fault(value) if key in FACTS else "is unknown"
        if fault is not None:
            raise ValueError(f"{key} {fault}")
    whole = {
        "version": VERSION,
        "measured_at_ms": profile.measured_at_ms,
        "mdcache": profile.mdcache,
        "hosts": {market.value: host for market, host in profile.hosts.items()},
        "facts": profile.facts,
    }
    return msgspec.json.format(msgspec.json.encode(whole), indent=2) + b"\n"


def read_profile(data: bytes, origins: Mapping[Market, str]) -> ProfileReading:
    """Read the file of a profile.

    Args:
        data: the file's bytes; more than `MAX_BYTES` are not looked at.
        origins: the base URL of each market that is asked, as it is configured; what was measured elsewhere does not
            count.
    """
    if len(data) > MAX_BYTES:
        return ProfileReading(None, (f"it has more than {MAX_BYTES:,} bytes",))
    try:
        whole = msgspec.json.decode(data)
    except UNDECODABLE as error:
        return ProfileReading(None, (f"it is not JSON: {_short(error)}",))
    if not isinstance(whole, dict):
        return ProfileReading(None, ("it is not a JSON object",))
    fault = _fault(whole)
    if fault is not None:
        return ProfileReading(None, (fault,))
    problems = [f"{_short(name)}: no such member" for name in whole if name not in _MEMBERS]
    hosts = _hosts(whole["hosts"], origins, problems)
    facts = _facts(whole["facts"], hosts, whole["hosts"], problems)
    more = len(problems) - _MAX_PROBLEMS
    if more > 0:
        problems[_MAX_PROBLEMS:] = [f"{more} more"]
    profile = Profile(whole["measured_at_ms"], _short(whole.get("mdcache", "")), hosts, facts)
    return ProfileReading(profile if facts else None, tuple(problems))


def _hosts(listed: dict[str, Any], origins: Mapping[Market, str], problems: list[str]) -> dict[Market, str]:
    """Return the hosts that the daemon asks; report the others as problems."""
    found: dict[Market, str] = {}
    for market in Market:
        if market.value not in listed:
            continue
        host = _origin(listed[market.value])
        if host == origin(origins[market]):
            found[market] = host
        else:
            problems.append(f"{market.value} was measured at {_short(host)}, but {origins[market]} is asked")
    return found


def _facts(
    listed: dict[str, Any], hosts: Mapping[Market, str], named: Mapping[str, object], problems: list[str]
) -> dict[str, FactValue]:
    """Return the valid facts about these hosts; report the others as problems."""
    facts: dict[str, FactValue] = {}
    for key, value in listed.items():
        fact = FACTS.get(key)
        if fact is None:
            problems.append(f"{_short(key)}: no such fact")
        elif fact.market.value not in named:
            problems.append(f"{key}: it is not said at which host it was measured")
        elif (wrong := fact.kind.fault(value)) is not None:
            problems.append(f"{key}: {_short(value)} {wrong}")
        elif fact.market in hosts:
            facts[key] = value
    return facts


def _fault(whole: dict[str, Any]) -> str | None:
    """Return why nothing of a file counts; `None` if its members have the right form."""
    if whole.get("version") != VERSION:
        return f"its version is {_short(whole.get('version'))}, not {VERSION}"
    moment = whole.get("measured_at_ms")
    if not isinstance(moment, int) or isinstance(moment, bool) or not 0 < moment < _MAX_MOMENT_MS:
        return "measured_at_ms is not a time in milliseconds"
    for name in ("hosts", "facts"):
        if not isinstance(whole.get(name), dict):
            return f"{name} is not an object"
    return None


def _origin(host: object) -> str:
    """Return a host without user and password, or `no host`."""
    try:
        return origin(host) if isinstance(host, str) else "no host"
    except ValueError:
        return "no host"


def _short(value: object) -> str:
    """Return a value as one line of text that is not long, whatever it is."""
    said = value if isinstance(value, str) else str(value)
    said = said if said.isprintable() else repr(said)
    return said if len(said) <= _MAX_TEXT else f"{said[: _MAX_TEXT - 1]}…"
