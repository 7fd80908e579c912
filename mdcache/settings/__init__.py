"""Every setting of the daemon: its name, type, default, bounds and meaning; read once, checked as a whole.

Only `daemon` and `cli` import this; all other modules are handed plain values. A value that may hold a secret leaves
this package only as a `SecretStr` or in the URL's own field, never in a message, a `repr` or the output of `check`.
"""

from mdcache.settings.load import Problem, SettingsError, load
from mdcache.settings.model import HIDDEN, NO_EFFECT_YET, EffectiveSetting, Settings, effective

__all__ = ["HIDDEN", "NO_EFFECT_YET", "EffectiveSetting", "Problem", "Settings", "SettingsError", "effective", "load"]
