"""What `visual-question-answering` is made of: a file for each family of models."""
