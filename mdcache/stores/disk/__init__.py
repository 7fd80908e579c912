"""The state directory: settled rows, exchangeInfo bodies, gates and budgets, in files of one daemon."""
