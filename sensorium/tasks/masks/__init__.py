"""What `mask-generation` is made of."""
