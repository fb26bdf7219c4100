"""Films of moving shapes, and Transformers' own way through them: what tasks that follow objects are held to."""

from __future__ import annotations

import contextlib

import numpy as np
import torch

HEIGHT, WIDTH = 48, 80


def moving(frames=10, *, height=HEIGHT, width=WIDTH, seed=0):
    """`(T, H, W, 3)` uint8: a disc that moves right, a square that falls, and noise."""
    rng = np.random.default_rng(seed)
    film = rng.integers(60, 110, (frames, height, width, 3)).astype(np.uint8)
    y, x = np.mgrid[:height, :width]
    for i in range(frames):
        part = i / max(1, frames - 1)
        disc = (x - width * (0.2 + 0.5 * part)) ** 2 + (y - height * 0.4) ** 2 < (height * 0.2) ** 2
        film[i][disc] = (230, 80, 30)
        top, left = int(height * (0.1 + 0.5 * part)), int(width * 0.75)
        film[i, top : top + height // 4, left : left + width // 6] = (30, 160, 240)
    return film


class Theirs:
    """Transformers' model, processor and inference session of one film.

    Args:
        folder: the checkpoint.
        film: `(T, H, W, 3)` uint8.
    """

    def __init__(self, folder, film):
        from transformers import AutoConfig, AutoModel, Sam2VideoProcessor

        kind = AutoConfig.from_pretrained(folder).model_type
        self.model = AutoModel.from_pretrained(folder).eval()
        assert self.model.config.model_type == kind
        _as_published(self.model)
        self.processor = Sam2VideoProcessor.from_pretrained(folder)
        self.session = self.processor.init_video_session(video=film, inference_device="cpu", dtype=torch.float32)
        if type(self.model).__name__ == "EdgeTamVideoModel":
            from transformers.models.edgetam_video.modeling_edgetam_video import EdgeTamVideoInferenceSession

            own = EdgeTamVideoInferenceSession.__new__(EdgeTamVideoInferenceSession)
            own.__dict__ = self.session.__dict__
            self.session = own

    def add(self, number, frame, *, points=None, labels=None, box=None, mask=None, clear=True):
        """Tells of an object on a frame, and runs the frame; gives `follow`'s triple."""
        given = {}
        if points is not None:
            given |= {"input_points": [[points]], "input_labels": [[labels or [1] * len(points)]]}
        if box is not None:
            given |= {"input_boxes": [[box]]}
        if mask is not None:
            given |= {"input_masks": mask}
        self.processor.add_inputs_to_inference_session(
            self.session, frame_idx=frame, obj_ids=[number], clear_old_inputs=clear, **given
        )
        return self._told(self.model(self.session, frame_idx=frame))

    def follow(self, start=None, *, reverse=False, most=None):
        """Yields `(frame, {object: (s, s) logits}, {object: logit of being in sight})`."""
        steps = self.model.propagate_in_video_iterator(
            self.session, start_frame_idx=start, reverse=reverse, max_frame_num_to_track=most
        )
        with contextlib.closing(steps):
            for output in steps:
                yield self._told(output)

    def masks(self, logits):
        """`(H, W)` bool by object, as the processor gives them."""
        size = [[self.session.video_height, self.session.video_width]]
        return {
            number: self.processor.post_process_masks([mask[None, None]], original_sizes=size)[0][0, 0].numpy()
            for number, mask in logits.items()
        }

    @staticmethod
    def _told(output):
        masks = dict(zip(output.object_ids, output.pred_masks[:, 0], strict=True))
        seen = dict(zip(output.object_ids, output.object_score_logits.flatten().tolist(), strict=True))
        return output.frame_idx, masks, seen


def _as_published(model):
    """Has each object's memory encoded by itself, as SAM 2's authors do (sam2_video_predictor.py).

    Transformers, up to 5.23 at least, cuts the masks of all objects to 0 and 1 where one of them is prompted.
    """
    together = getattr(model, "_batch_encode_memories", None)  # EdgeTAM encodes them one by one already
    if together is None:
        return

    def one_by_one(*, objects_needing_memory_encoding, **given):
        lists = [name for name, value in given.items() if isinstance(value, list)]
        for at, number in enumerate(objects_needing_memory_encoding):
            own = {name: given[name][at : at + 1] for name in lists}
            together(**{**given, **own}, objects_needing_memory_encoding=[number])

    model._batch_encode_memories = one_by_one
