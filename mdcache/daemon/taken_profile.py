"""Read the exchange profile of a state directory, and tell what is taken from it (docs/design.md#exchange-profile)."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from mdcache.daemon.build_upstream import origins
from mdcache.events import ProfileRead
from mdcache.exchange.measured import AS_ASSUMED, Measured, SettleTimes, take
from mdcache.exchange.profile import FILE_NAME, MAX_BYTES, Profile, ProfileReading, read_profile
from mdcache.serving.ops.status import ProfileStatus
from mdcache.settings import Settings


@dataclass(frozen=True, slots=True)
class TakenProfile:
    """A profile's file, if there is one, what came of reading it, and what the daemon takes from it."""

    path: Path | None = None
    reading: ProfileReading | None = None
    measured: Measured = AS_ASSUMED

    @property
    def profile(self) -> Profile | None:
        """The profile; nothing if there is no file, or nothing of it counts."""
        return None if self.reading is None else self.reading.profile

    def status(self) -> ProfileStatus | None:
        """Return what status shows; nothing if there is no file."""
        if self.reading is None:
            return None
        profile = self.profile or Profile(0, "", {}, {})
        hosts = {market.value: host for market, host in profile.hosts.items()}
        counts, refused = len(profile.facts), self.reading.problems
        return ProfileStatus(
            str(self.path), profile.measured_at_ms, profile.mdcache, hosts, counts, self.measured.notes, refused
        )

    def event(self) -> ProfileRead | None:
        """Return what is logged of it; nothing if there is no file."""
        shown = self.status()
        if shown is None:
            return None
        taken = tuple(f"{note.fact}: {note.effect}" for note in shown.notes if note.taken)
        left = tuple(note.fact for note in shown.notes if not note.taken)
        return ProfileRead(shown.path, shown.measured_at_ms, shown.facts, taken, left, shown.refused)


AS_CONFIGURED = TakenProfile()


def load_profile(settings: Settings, folder: Path | None) -> TakenProfile:
    """Return the profile in a folder, and what these settings take from it; whatever prevents that is a problem."""
    if folder is None:
        return TakenProfile()
    path = folder / FILE_NAME
    try:
        data = _read(path)
    except FileNotFoundError:
        return TakenProfile()
    except OSError as error:
        return TakenProfile(path, ProfileReading(None, (f"it can't be read: {error.strerror or error}",)))
    reading = read_profile(data, origins(settings))
    return TakenProfile(path, reading, take(reading.profile, settle_times(settings)))


def settle_times(settings: Settings) -> SettleTimes:
    """Return when rows settle by the settings."""
    given = "confirm_s" in settings.given
    return SettleTimes(round(settings.settle_s * 1000), round(settings.confirm_s * 1000), given)


def _read(path: Path) -> bytes:
    """Return the file's bytes, at most one more than a profile may have; never wait for what is no file, as a pipe."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as file:  # noqa: PTH123 - a descriptor has no path
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError("it is not a file")
        return file.read(MAX_BYTES + 1)
