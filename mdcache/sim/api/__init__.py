"""What is asked and what is answered: paths, parameters, weights, refusals, bodies and headers."""
