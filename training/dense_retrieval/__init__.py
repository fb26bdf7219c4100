"""DPR's recipe at a small size: two encoders and a reader over WordNet's definitions."""
