"""What `image-segmentation` is made of."""
