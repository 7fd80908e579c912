"""What two runs of one client must have in common, as a list of what they have not."""

from collections.abc import Iterator
from typing import Any

Section = dict[str, dict[str, Any]]
Document = dict[str, Section]

_UNALIGNED_ROWS = 2  # at most this many candles begin while a client runs


def problems(direct: Document, through: Document, run: str) -> list[str]:
    """How `through` differs from what the client got without the daemon."""
    found = []
    for section, name, expected in _answers(direct):
        got = through[section].get(name, {"failed": "never asked"})
        difference = _differs(section, expected, got)
        if difference is not None:
            found.append(f"{run}: {section} / {name}: {difference}")
    return found


def unanswered(direct: Document) -> list[str]:
    """Questions that fail without the daemon too, though they should not; and refusals that were none."""
    return [
        f"without the daemon: {section} / {name}: {answer.get('failed', 'was not refused')}"[:300]
        for section, name, answer in _answers(direct)
        if ("failed" in answer) != (section == "refused")
    ]


def _answers(document: Document) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for section, answers in document.items():
        for name, answer in answers.items():
            yield section, name, answer


def _differs(section: str, expected: dict[str, Any], got: dict[str, Any]) -> str | None:
    if "failed" in expected or "failed" in got:
        return None if expected == got else f"{_short(expected)} became {_short(got)}"
    if section == "open":
        return _open(expected["got"], got["got"])
    if section == "live":
        return _first(shape(expected["got"]), shape(got["got"]))
    return _first(expected["got"], got["got"])


def _open(expected: list[Any], got: list[Any]) -> str | None:
    """Rows by their opening times, less the newest of each; a new candle may have begun between the runs."""
    ours, theirs = ({str(_opening(row)): row for row in rows[:-1]} for rows in (expected, got))
    common = ours.keys() & theirs.keys()
    if len(common) < max(len(ours), len(theirs)) - _UNALIGNED_ROWS or not common:
        return f"{len(ours)} rows became {len(theirs)}, {len(common)} of them the same candles"
    return _first([ours[key] for key in sorted(common)], [theirs[key] for key in sorted(common)])


def _opening(row: Any) -> Any:
    if isinstance(row, list):
        return row[0]
    return next(row[name] for name in ("openTime", "open_time", "ts_event", "date") if name in row)


def shape(value: Any) -> Any:
    """Names and types; of a list only whether there is something in it, and its first item's shape."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def _first(expected: Any, got: Any, where: str = "") -> str | None:
    """Where two values first differ."""
    if isinstance(expected, dict) and isinstance(got, dict) and expected.keys() == got.keys():
        return next((text for name in expected if (text := _first(expected[name], got[name], f"{where}.{name}"))), None)
    if isinstance(expected, list) and isinstance(got, list):
        pairs = enumerate(zip(expected, got, strict=False))
        inside = next((text for at, pair in pairs if (text := _first(*pair, f"{where}[{at}]"))), None)
        lengths = f"{where}: {len(expected)} items became {len(got)}"
        return inside or (lengths if len(expected) != len(got) else None)
    return None if expected == got else f"{where}: {_short(expected)} became {_short(got)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 160 else text[:160] + " …"
