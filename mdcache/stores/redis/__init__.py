"""The data that replicas share, in Redis: it may fail at any time, and the daemon works without it."""
