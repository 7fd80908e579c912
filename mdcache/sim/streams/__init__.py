"""The simulated WebSocket streams: topics, frames and connections (docs/sim.md#streams)."""
