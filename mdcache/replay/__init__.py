"""The incident on your own machine: the same consumers against a simulated exchange, without and with mdcache.

Nothing of the daemon is used here but its command line: it runs as a process, as it does for everybody.
"""
