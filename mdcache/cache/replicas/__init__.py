"""Share rows and whole answers between the replicas of one daemon. A single process never runs this code."""
