"""The command line: one file a command, each a thin client of the layers below."""
