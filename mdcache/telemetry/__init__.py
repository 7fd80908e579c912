"""Metrics and log: sinks for events. Nothing here decides anything."""
