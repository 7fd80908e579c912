"""An hour of the incident on three replicas, with a fault every 30 s: `make soak`, docs/reliability.md#soak."""
