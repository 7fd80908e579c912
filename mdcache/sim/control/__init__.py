"""The control API, which changes the exchange while it runs, and the limits on its clients."""
