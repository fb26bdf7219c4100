"""One file a format: what is in a file → a `Document`. Those with a parser run in a process of their own."""
