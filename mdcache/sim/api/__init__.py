"""Requests and replies: paths, parameters, weights, refusals, bodies and headers."""
