"""What `.env.example` must say. Writes it anew: `python -m tests.settings.env_example > .env.example`."""

import sys

from mdcache.settings import NO_EFFECT_YET, Settings
from mdcache.settings.model import PREFIX, display

HEAD = """\
# Every setting with its default. Copy to .env and change what you need; the environment wins over .env.
# Names ending in _S are decimal seconds, those in _MB whole megabytes.
"""


def render() -> str:
    lines = [HEAD]
    for name, field in Settings.model_fields.items():
        default = "" if name == "state_dir" else display(field.get_default(call_default_factory=True))
        later = " (no effect in this release)" if name in NO_EFFECT_YET else ""
        lines.append(f"# {field.description}{later}\n{PREFIX}{name.upper()}={default}\n")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(render())
