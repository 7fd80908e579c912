"""The daemon: makes every part from the settings, joins them, and runs them from start to drain."""
