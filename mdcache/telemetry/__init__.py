"""Sinks for events: what operators read. Nothing here decides anything."""
