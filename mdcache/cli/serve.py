"""`mdcache serve`: run the daemon."""

from mdcache.cli.console import load_or_exit


def serve() -> None:
    """Serve; every setting comes from MDCACHE_* variables or .env (`mdcache check` lists them)."""
    settings = load_or_exit()
    from mdcache.daemon.lifecycle import run

    run(settings)
