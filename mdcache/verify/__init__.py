"""Measure on the live exchange what the daemon takes for granted (docs/design.md#verify).

Each assumption is one small class: what is assumed, how it is measured, what that weighs, what follows. Nothing is ever
asked that could bring a ban.
"""
