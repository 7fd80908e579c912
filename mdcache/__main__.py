"""Run the `mdcache` command with `python -m mdcache`. Nothing else may be here."""

from mdcache.cli.app import main

if __name__ == "__main__":
    main()
