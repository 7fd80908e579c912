"""Events of the daemon itself: its settings are read again, or a client asks too often. They have no secrets."""

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


@dataclass(frozen=True, slots=True)
class ClientRefused:
    """A request was refused, as its client asks too often. `client`: its configured name, if any."""

    client: str
    address: str


DaemonEvent = SettingsReloaded | SettingsRefused | ClientRefused
