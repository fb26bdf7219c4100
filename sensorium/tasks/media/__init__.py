"""What the tasks share that take one image or one sound."""
