"""Where knowledge rests. Memory now; disk and Redis come behind the same ports."""
