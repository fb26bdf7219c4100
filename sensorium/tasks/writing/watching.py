"""Whether the scores of the tokens that a model writes are finite."""

from __future__ import annotations

import torch
from torch import Tensor


class ScoreWatch:
    """A processor of scores for `generate()`: notes the largest of all, NaN or infinite where one is, and writes on.

    Drawing a token from scores of NaN ends all work of the process on a GPU. Nothing here waits for one.

    Attributes:
        largest: `()` float32, to be given among the outputs; the engine refuses what is not finite.
    """

    def __init__(self) -> None:
        self.largest = torch.tensor(0.0)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The scores as they are, but zeros for NaN."""
        largest = scores.amax().float()
        self.largest = torch.maximum(self.largest.to(largest.device, non_blocking=True), largest)
        return scores.nan_to_num(0.0, posinf=torch.finfo(scores.dtype).max, neginf=-torch.inf)
