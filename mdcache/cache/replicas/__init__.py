"""Rows and whole answers shared between the replicas of one daemon. A single process never comes here."""
