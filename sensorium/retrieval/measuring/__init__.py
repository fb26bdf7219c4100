"""How good a ranking, or what was read from it, is."""
