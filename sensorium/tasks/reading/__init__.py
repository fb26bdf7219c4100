"""What `retrieval-qa` is made of: a file for each kind of reader."""
