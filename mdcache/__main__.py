"""Lets `python -m mdcache` do what the `mdcache` script does. Nothing else may live here."""

from mdcache.cli.app import main

if __name__ == "__main__":
    main()
