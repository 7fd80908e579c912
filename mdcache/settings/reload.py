"""Decide what changes when the settings are read again while the daemon runs (docs/design.md#settings). Pure."""

from dataclasses import dataclass

from mdcache.settings.model import PREFIX, RELOADABLE, Settings


@dataclass(frozen=True, slots=True)
class ReloadOutcome:
    """The settings in effect from now on; which of them changed, and what else differs but needs a restart.

    `changed`: names of fields; `needs_restart`: as in the environment, in the order of the class.
    """

    settings: Settings
    changed: frozenset[str]
    needs_restart: tuple[str, ...]


def merge(running: Settings, read: Settings) -> ReloadOutcome:
    """Return the outcome of reading `read` while `running` is in effect."""
    differ = [name for name in Settings.model_fields if getattr(running, name) != getattr(read, name)]
    kept = {name: getattr(running, name) for name in differ if name not in RELOADABLE}
    return ReloadOutcome(
        read.model_copy(update=kept),
        frozenset(differ) - kept.keys(),
        tuple(PREFIX + name.upper() for name in kept),
    )
