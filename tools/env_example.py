"""`.env.example`, made from the settings class."""

from mdcache.settings import Settings
from mdcache.settings.model import PREFIX, display

HEAD = """\
# Every setting with its default, commented out. Copy to .env, and take the # off what you change: what stays commented
# out follows the defaults of later versions. The environment wins over .env.
# Names ending in _S are decimal seconds (in _PER_S: so many a second), those in _MB whole megabytes.
"""


def text() -> str:
    """Return the whole file."""
    lines = [HEAD]
    for name, field in Settings.model_fields.items():
        default = "" if name == "state_dir" else display(field.get_default(call_default_factory=True))
        lines.append(f"# {field.description}\n#{PREFIX}{name.upper()}={default}\n")
    return "\n".join(lines)
