"""Control the exchange while it runs, and limit its clients."""
