"""What `video-mask-generation` is made of."""
