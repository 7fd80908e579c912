"""One world for tests: a fake clock, a loop that lives in it, and a network inside the process."""
