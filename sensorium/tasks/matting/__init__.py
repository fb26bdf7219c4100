"""What `image-matting` is made of."""
