"""The parsers of the package as targets of a fuzzer, and what it has found worth keeping: see `scripts/fuzz`."""
