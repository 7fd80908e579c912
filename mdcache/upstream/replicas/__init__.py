"""Share the budget and the gate between the replicas of one daemon. A single process never runs this code."""
