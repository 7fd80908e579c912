"""The simulated API: paths, parameters, weights, refusals, bodies and headers."""
