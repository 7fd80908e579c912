"""The daemon: make every part from the settings, join them, run them from start to drain."""
