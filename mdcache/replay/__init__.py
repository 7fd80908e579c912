"""Replay the incident on your machine: the same consumers against a simulated exchange, without and with mdcache.

Only the daemon's command line is used here: it runs as a process, as it does for its users.
"""
