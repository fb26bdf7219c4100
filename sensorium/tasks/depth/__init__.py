"""What `depth-estimation` is made of."""
