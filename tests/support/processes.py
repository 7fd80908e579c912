"""Real processes of ours on free loopback ports. Only a test marked `processes` may start one (`tests/conftest.py`)."""

from mdcache.replay.processes import Process, daemon, free_port, running, sim

__all__ = ["Process", "daemon", "free_port", "running", "sim"]
