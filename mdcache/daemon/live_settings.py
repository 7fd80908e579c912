"""The settings in effect, read again at SIGHUP (docs/design.md#settings)."""

import asyncio
from collections.abc import Callable

from mdcache.clock import Clock
from mdcache.daemon_events import SettingsRefused, SettingsReloaded
from mdcache.events import Events
from mdcache.serving.ops.status import SettingsStatus
from mdcache.settings import PREFIX, ReloadOutcome, Settings, SettingsError, effective, merge


class LiveSettings:
    """The settings in effect, since when they are, and whether the last attempt to read them again failed."""

    def __init__(self, settings: Settings, clock: Clock, events: Events) -> None:
        self.settings = settings
        self._clock = clock
        self._events = events
        self._loaded_ms = clock.wall_ms()
        self._problems: tuple[str, ...] = ()
        self._needs_restart: tuple[str, ...] = ()
        self._turn = asyncio.Lock()

    def status(self) -> SettingsStatus:
        """Return what status shows, without secrets."""
        values = {row.name: row.value for row in effective(self.settings)}
        return SettingsStatus(values, self._loaded_ms, self._problems, self._needs_restart)

    def degraded(self) -> tuple[str, ...]:
        """Return what to tell people if the last reload was refused."""
        problems = len(self._problems)
        return (f"settings: not read again, because of {problems} problems; see the log",) if problems else ()

    async def reload(self, read: Callable[[], Settings], apply: Callable[[ReloadOutcome], None]) -> None:
        """Read the settings again, in a thread, and apply in one step what may change.

        `read` raises `SettingsError`; then nothing changes.
        """
        async with self._turn:
            try:
                outcome = merge(self.settings, await asyncio.to_thread(read))
            except SettingsError as error:
                self._problems = tuple(map(str, error.problems))
                self._events.emit(SettingsRefused(self._problems))
                return
            apply(outcome)
            self.settings, self._needs_restart, self._problems = outcome.settings, outcome.needs_restart, ()
            self._loaded_ms = self._clock.wall_ms()
            changed = tuple(PREFIX + name.upper() for name in Settings.model_fields if name in outcome.changed)
            self._events.emit(SettingsReloaded(changed, outcome.needs_restart))
