"""The daemon, which writes down how many tasks its loop has: `python -m bench.soak.counted_daemon FILE`.

It ends with the process that started it.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from mdcache.cli.console import SettingsSource
from mdcache.daemon import lifecycle

_EVERY_S = 2.0


async def count_tasks(file: Path, parent: int) -> None:
    """Write the number of tasks, without this one."""
    while True:
        file.write_text(str(len(asyncio.all_tasks()) - 1))  # noqa: ASYNC240 - three bytes
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(_EVERY_S)


def main(file: Path) -> None:
    parts, parent = vars(lifecycle), os.getppid()
    serve = parts["serve"]

    async def counted(*arguments: Any, **options: Any) -> None:
        counting = asyncio.create_task(count_tasks(file, parent))
        try:
            await serve(*arguments, **options)
        finally:
            counting.cancel()

    parts["serve"] = counted
    source = SettingsSource()
    lifecycle.run(source.read(), source.read)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
