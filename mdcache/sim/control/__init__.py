"""What can be done to the exchange while it runs, and the limits it imposes on its clients."""
