"""What `make soak` would say of records that are made up."""
