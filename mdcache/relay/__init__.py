"""Relay frames of streams to all who listen, from one upstream subscription a topic (docs/design.md#relay)."""
