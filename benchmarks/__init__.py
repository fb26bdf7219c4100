"""Side-by-side runs against the peers; each prints a ratio with its spread."""
