"""SAM 2's memory, run in batches and let go: Transformers' logits, and a long film keeps no more than a short one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from sensorium.models.sam.memories import CORRECTABLE, FrameMemory, ObjectMemory, Reach
from sensorium.models.sam.tracker import FramePrompt, Tracker
from sensorium.models.sam.video import EncodedFrame, VideoSteps
from tests import tiny_tracking
from tests.reference_tracking import HEIGHT, WIDTH, Theirs, moving
from tests.versions import older

OLD = older("transformers", "5.20")
"""It took SAM 2's settings for others, and asked the Hub for those of EdgeTAM's backbone."""
KINDS = [*([] if OLD else ["sam2_video", "edgetam_video"]), "sam3_tracker_video"]
FRAMES = 12
X, Y = tiny_tracking.SIZE / WIDTH, tiny_tracking.SIZE / HEIGHT


class Ours:
    def __init__(self, theirs):
        self.steps = VideoSteps(theirs.model)
        self.tracker = Tracker(self.steps, FRAMES)
        self._frames = theirs.session.processed_frames

    def encoded(self, frame):
        *fine, coarse, places = self.steps.encode(self._frames[frame][None])
        return EncodedFrame(tuple(fine), coarse, places)

    def prompt(self, name, frame, points, labels, mask=None):
        told = FramePrompt([[x * X, y * Y] for x, y in points], labels, mask)
        return self.tracker.prompt(name, frame, self.encoded(frame), told)

    def check(self, steps, *, reverse=False):
        for frame, masks, seen in steps:
            drawn = self.tracker.follow(frame, self.encoded(frame), reverse=reverse)
            assert list(self.tracker.objects) == [str(number) for number in masks]
            assert_same(drawn.masks, torch.stack(list(masks.values())))
            assert_same(drawn.seen, torch.tensor(list(seen.values())))


def assert_same(mine, reference):
    """Logits reach 100; products of 128 terms in another order, a few layers deep, differ in the sixth digit."""
    torch.testing.assert_close(mine, reference, atol=5e-4, rtol=1e-4)


@pytest.fixture(params=KINDS)
def both(request, monkeypatch):
    """Both sides on one film. Memories are bfloat16 in both: here float32, so that no rounding goes either way."""
    theirs = Theirs(tiny_tracking.folder(request.param), moving(FRAMES))
    monkeypatch.setattr(torch, "bfloat16", torch.float32)
    with torch.inference_mode():
        yield theirs, Ours(theirs)


def test_all_that_a_user_can_tell_equals_transformers(both):
    theirs, ours = both
    masks = hasattr(theirs.model, "_batch_encode_memories")  # EdgeTAM's own takes given masks at 1024 px
    points = [[16, 19], [70, 40]]
    _, told, _ = theirs.add(1, 0, points=points, labels=[1, 0])
    assert_same(ours.prompt("1", 0, points, [1, 0]).masks[0], told[1])
    _, told, _ = theirs.add(2, 0, box=[60, 5, 74, 18])
    assert_same(ours.prompt("2", 0, [[60, 5], [74, 18]], [2, 3]).masks[0], told[2])
    ours.check(theirs.follow(0, most=5))

    mask = np.zeros((HEIGHT, WIDTH), bool)  # an object that comes later
    mask[10:30, 20:50] = True
    square = (tiny_tracking.SIZE, tiny_tracking.SIZE)
    given = functional.interpolate(torch.tensor(mask)[None, None].float(), square, mode="bilinear", antialias=True)
    if masks:
        _, told, _ = theirs.add(3, 5, mask=mask)
        assert_same(ours.prompt("3", 5, [], [], (given >= 0.5).float()).masks[0], told[3])
    else:
        _, told, _ = theirs.add(3, 5, points=[[35, 20]])
        assert_same(ours.prompt("3", 5, [[35, 20]], [1]).masks[0], told[3])

    _, told, _ = theirs.add(1, 5, points=[[30, 20]])  # a correction
    assert ours.tracker.corrects("1", 5)
    assert_same(ours.prompt("1", 5, [[30, 20]], [1]).masks[0], told[1])
    ours.check(theirs.follow(6))
    ours.check(theirs.follow(4, reverse=True), reverse=True)


def test_a_prompt_for_one_object_changes_no_other(both):
    _, ours = both
    alone = Ours(both[0])
    for side in (ours, alone):
        side.prompt("1", 0, [[16, 19]], [1])
    for frame in range(4):
        if frame == 2:
            ours.prompt("2", 2, [[66, 20]], [1])
        mine, lone = (side.tracker.follow(frame, side.encoded(frame)) for side in (ours, alone))
        torch.testing.assert_close(mine.masks[0], lone.masks[0], atol=1e-4, rtol=1e-4)


def test_a_corrected_frame_stays_corrected(both):
    _, ours = both
    ours.prompt("1", 0, [[16, 19]], [1])
    for frame in range(3):
        ours.tracker.follow(frame, ours.encoded(frame))
    told = ours.prompt("1", 2, [[70, 40]], [0])
    again = ours.tracker.follow(2, ours.encoded(2))
    assert torch.equal(told.masks, again.masks)


REACH = Reach(memories=7, pointers=16, most_prompted=-1, total=None)


def test_memory_does_not_grow_with_the_film():
    memory, kept = ObjectMemory({0: _known()}), []
    for frame in range(1, 10_001):
        memory.followed[frame] = _known()
        memory.forget(frame, REACH)
        kept.append((len(memory.followed), sum(one.features is not None for one in memory.followed.values())))
    assert max(kept) <= (2 * REACH.pointers + CORRECTABLE, 2 * REACH.memories + CORRECTABLE)
    assert kept[100] == kept[-1]


def test_what_is_looked_at_is_still_there():
    """Of each frame that can be corrected, and of each that comes next, all that the model looks at."""
    memory = ObjectMemory({5: _known()})
    for frame in range(6, 200):
        for last in range(frame - CORRECTABLE if frame > 60 else frame, frame + 1):
            seen = memory.recollect(last, REACH, torch.empty(0), reverse=False)
            assert len(seen.features) == 1 + min(REACH.memories - 1, last - 6)
            assert len(seen.pointers) == 1 + min(REACH.pointers - 1, last - 6)
        memory.followed[frame] = _known()
        memory.forget(frame, REACH)
    back = memory.recollect(4, REACH, torch.empty(0), reverse=True)  # as if nothing had been let go
    assert back.offsets == [0, *range(6, 1, -1)]
    assert back.ages == [1, *range(2, 16)]


def _known():
    return FrameMemory(torch.empty(0), torch.empty(0))
