"""Events of the settings: they were read again, or could not be. Like all events, without secrets."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SettingsReloaded:
    """The settings were read again; `changed` are in effect, `needs_restart` differ from what is in effect."""

    changed: tuple[str, ...]
    needs_restart: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SettingsRefused:
    """The settings were read again, and nothing was changed, because of all these problems."""

    problems: tuple[str, ...]


SettingsEvent = SettingsReloaded | SettingsRefused
