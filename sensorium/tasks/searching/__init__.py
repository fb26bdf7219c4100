"""What the tasks share that search an index."""
