"""The budget and the gate shared between the replicas of one daemon. A single process never comes here."""
