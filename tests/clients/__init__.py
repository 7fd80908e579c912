"""Real client libraries against the daemon: `make test-clients`, or `python -m tests.clients [name …]`.

Each client is installed in an environment of its own and runs its script three times: against the simulated
exchange, through the daemon, and through the daemon again. Not a part of the suite: it needs a package index.
"""
