"""SAM and SAM 2: prompts on an image that is encoded once."""
