"""Say what the daemon takes from the exchange profile, for `mdcache check` and `mdcache status`."""

from datetime import UTC, datetime

from rich.table import Table
from rich.text import Text

from mdcache.cli.console import add_row, new_table, printable
from mdcache.serving.ops.status import ProfileStatus

_MAX_VALUE = 40


def profile_line(status: ProfileStatus) -> Text:
    """Return the whole in a line."""
    taken = sum(note.taken for note in status.notes)
    counts = f"{status.facts} measured, {taken} taken, {len(status.notes) - taken} not as assumed and not taken"
    line = Text(f"exchange profile of {_moment(status.measured_at_ms)}: {counts}")
    return line.append(f", {len(status.refused)} refused", "yellow") if status.refused else line


def profile_notes(status: ProfileStatus) -> Table:
    """Return a line for each fact that is not as assumed, and for what of the file does not count."""
    table = new_table("fact", "measured", "assumed", "")
    for note in sorted(status.notes, key=lambda each: not each.taken):
        values = (_value(note.measured), _value(note.assumed))
        effect = Text(printable(note.effect) if note.taken else f"not taken: {printable(note.effect)}")
        add_row(table, printable(note.fact), *values, effect)
    for each in status.refused:
        add_row(table, "refused", "", "", Text(printable(each), "yellow"))
    return table


def _moment(ms: int) -> str:
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC") if ms else "an unknown time"
    except (ValueError, OverflowError, OSError):
        return "an unknown time"


def _value(value: object) -> str:
    said = printable(value)
    return said if len(said) <= _MAX_VALUE else f"{said[: _MAX_VALUE - 1]}…"
