"""What `keypoint-detection` and `keypoint-matching` are made of: a file for each architecture."""
