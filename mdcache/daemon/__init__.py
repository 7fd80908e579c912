"""The daemon: build every part from the settings, and run them from start to drain."""
