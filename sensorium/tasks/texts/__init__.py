"""What the tasks share that read texts: pairs in one sequence, spans, lengths, labels as vectors."""
