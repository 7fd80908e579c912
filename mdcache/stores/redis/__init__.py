"""What replicas share, behind one connection that may fail at any time: Redis is a store, not a need."""
