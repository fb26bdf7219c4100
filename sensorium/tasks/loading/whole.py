"""Classes whose checkpoints hold what several tasks need."""

TIPSV2_HEADS = ("Tipsv2DptForDensePrediction", "TIPSv2DPTModel")
"""TIPSv2 with heads for depths, normals and classes: as Transformers calls it, and as Google's own checkpoints do."""
