"""The data path: a question comes in, slices of what is known go out, and flights fetch what is missing."""
