"""What tasks share that take large pictures in tiles."""
