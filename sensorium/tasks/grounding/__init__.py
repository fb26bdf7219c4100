"""Finding what texts name: the families of models that zero-shot-object-detection runs."""
