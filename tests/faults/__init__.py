"""Real faults upon a real daemon, and what it promises under each: `make faults`, docs/reliability.md."""
