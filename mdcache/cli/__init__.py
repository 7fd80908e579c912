"""The command line: one module per command, each a thin client of the layers below."""
