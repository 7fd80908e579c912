"""The daemon's settings: name, type, default, bounds and meaning of each; loaded once, and checked together.

Only `daemon` and `cli` import this; all other modules get plain values. A value that may contain a secret leaves this
package only as a `SecretStr` or in a URL's field, never in a message, a `repr` or the output of `check`.
"""

from mdcache.settings.load import Problem, SettingsError, load
from mdcache.settings.model import HIDDEN, PREFIX, RELOADABLE, EffectiveSetting, Settings, effective
from mdcache.settings.reload import ReloadOutcome, merge

__all__ = [
    "HIDDEN",
    "PREFIX",
    "RELOADABLE",
    "EffectiveSetting",
    "Problem",
    "ReloadOutcome",
    "Settings",
    "SettingsError",
    "effective",
    "load",
    "merge",
]
