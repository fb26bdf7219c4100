"""video-mask-generation against Transformers' own loop, in float32 on the same tiny checkpoints and films."""

from __future__ import annotations

import weakref

import av
import numpy as np
import pytest
import torch
import transformers

import sensorium
from sensorium import frames
from sensorium.errors import CheckpointError, InputError, OptionError, TaskMismatchError
from sensorium.processors.limits import MediaLimits
from sensorium.tasks.tracking.film import AT_ONCE, FittedFrame
from tests import tiny_sam, tiny_tracking
from tests.contract import Contract, Opened
from tests.films import film, only_sound
from tests.media import jpeg
from tests.pretend_cuda import PretendCuda
from tests.reference_tracking import HEIGHT, WIDTH, Theirs, moving
from tests.versions import older

OLD = older("transformers", "5.20")
"""It took SAM 2's settings for others, and asked the Hub for those of EdgeTAM's backbone."""
KINDS = [*([] if OLD else ["sam2_video", "edgetam_video"]), "sam3_tracker_video"]
DISC, SQUARE, BOX = [[16, 19]], [[66, 10]], [58, 4, 76, 20]
FILM = moving(6)


def ours(kind=KINDS[0], **settings):
    settings = {"device": "cpu", "dtype": "float32", "compile": False, **settings}
    return sensorium.pipeline("video-mask-generation", tiny_tracking.folder(kind), **settings)


@pytest.fixture(scope="module")
def pipe():
    with ours() as pipe:
        yield pipe


def make_inputs():
    """Films of several sizes, lengths and forms, with one object and with several."""
    mask = np.zeros((40, 50), bool)
    mask[5:20, 8:30] = True
    return [
        {"video": FILM, "points": DISC},
        {"video": film(4, 48, 64, g=2), "boxes": [[4, 4, 30, 30], [10, 20, 40, 60]], "object_ids": ["a", "b"]},
        {"video": torch.from_numpy(moving(3, height=40, width=50, seed=1)), "masks": mask},
        {"video": film(3, form="gif"), "points": [[[5, 6]], [[40, 30]]], "point_labels": [[1], [0]], "frame": 1},
        {"video": FILM[:1], "points": DISC},
    ]


def close(a, b, tolerance):
    """A pixel at a mask's edge may fall to either side: memories are bfloat16, whose rounding goes either way."""
    assert len(a) == len(b)
    if a and isinstance(a[0], list):  # of several films
        for film_a, film_b in zip(a, b, strict=True):
            close(film_a, film_b, tolerance)
        return
    assert [(x["frame"], x["object_ids"], x["time_s"]) for x in a] == [
        (x["frame"], x["object_ids"], x["time_s"]) for x in b
    ]
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x["scores"], y["scores"], atol=2e-3)
        np.testing.assert_allclose(x["ious"], y["ious"], atol=2e-3)
        for mask, other in zip(x["masks"], y["masks"], strict=True):
            differ = sensorium.results.rle.decode(mask) != sensorium.results.rle.decode(other)
            assert differ.mean() < 2e-3


CONTRACT = Contract(
    build=ours,
    inputs=make_inputs,
    bad=[
        {"video": "nowhere.mp4", "points": DISC},
        {"video": FILM},
        {"video": FILM, "points": [[1000, 2]]},
        {"video": FILM, "points": DISC, "frame": 6},
        {"video": jpeg(), "points": DISC},
        {"video": only_sound(), "points": DISC},
        {"video": film(48)[:900], "points": DISC},
        {"image": FILM, "points": DISC},
        {"video": FILM, "points": DISC, "object_ids": ["a", "b"]},
    ],
    options=[{"mask_threshold": 5.0}],
    opened=Opened(
        raw=lambda: FILM[:1],
        ask=lambda session, pipe: [session.add("0", points=DISC, frame=0).to_dict()],
        call=lambda pipe: pipe({"video": FILM[:1], "points": DISC}).to_dict(),
    ),
    close=close,
)


def assert_same(masks, theirs, told):
    frame, logits, seen = told
    assert masks.frame == frame
    assert masks.object_ids == [str(number) for number in logits]
    for at, (number, mask) in enumerate(theirs.masks(logits).items()):
        assert (masks.mask(at) != mask).mean() < 2e-3, (frame, number)  # px at the edge, where logits are about 0
    expected = torch.tensor(list(seen.values())).sigmoid().numpy()
    np.testing.assert_allclose(masks.scores, expected, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_session_equals_transformers_loop(kind):
    theirs, mask = Theirs(tiny_tracking.folder(kind), moving(7)), np.zeros((HEIGHT, WIDTH), bool)
    mask[8:28, 20:44] = True
    with ours(kind) as pipe, pipe.video(moving(7)) as opened:
        theirs.add(1, 0, points=[[16, 19], [70, 40]], labels=[1, 0])
        opened.add(1, points=[[16, 19], [70, 40]], point_labels=[1, 0])
        assert_same(opened.add(2, box=BOX, frame=0), theirs, _only(theirs.add(2, 0, box=BOX), 2))
        stream = opened.stream()
        for told in theirs.follow(0, most=3):
            assert_same(next(stream), theirs, told)
        if kind == "edgetam_video":  # whose own model draws given masks for other squares than this one
            theirs.add(3, 3, points=[[30, 20]])
            opened.add(3, points=[[30, 20]])
        else:
            theirs.add(3, 3, mask=mask)
            opened.add(3, mask=mask)  # while the stream goes on: on the frame that it gave last
        theirs.add(1, 3, points=[[28, 20]])
        opened.add(1, points=[[28, 20]])
        for masks, told in zip(stream, theirs.follow(4), strict=True):
            assert_same(masks, theirs, told)
        for masks, told in zip(opened.stream(start=2, reverse=True), theirs.follow(2, reverse=True), strict=True):
            assert_same(masks, theirs, told)


def _only(told, number):
    frame, logits, seen = told
    return frame, {number: logits[number]}, {number: seen[number]}


def test_a_call_equals_a_session(pipe):
    result = pipe(moving(12), points=[DISC, SQUARE], object_ids=["disc", "square"], frame=2)
    assert [one.frame for one in result] == list(range(2, 12))
    with pipe.video(moving(12)) as opened:
        opened.add("disc", points=DISC, frame=2)
        opened.add("square", points=SQUARE, frame=2)
        close([one.to_dict() for one in opened.stream()], result.to_dict(), 0)


def test_files_know_their_times(pipe, tmp_path):
    path = tmp_path / "film.mp4"
    path.write_bytes(film(5, rate=10))
    result = pipe(str(path), points=[[20, 20]], frame=1)
    assert [one.time_s for one in result] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert {result.source, *(one.source for one in result)} == {str(path)}
    with pipe.video(path) as opened:
        assert opened.frames == 5
        opened.add("a", points=[[20, 20]], frame=3)
        assert [(one.frame, one.time_s) for one in opened.stream(reverse=True, end=1)] == [
            (3, pytest.approx(0.3)),
            (2, pytest.approx(0.2)),
            (1, pytest.approx(0.1)),
        ]
        assert [one.frame for one in opened.stream(start=1, end=3)] == [1, 2]
        assert list(opened.stream(start=3, end=3)) == []
        for wrong in ({"start": 5}, {"end": 6}, {"start": 2.0}, {"end": -1}):
            with pytest.raises(InputError, match="number of a frame"):
                opened.stream(**wrong)
        for masks, frame in zip(opened.stream(start=0), frames(path), strict=True):
            assert masks.frame == frame.index
            assert opened.image().pixels.equal(frame.pixels)
            assert masks.plot(frame).size == (64, 48)


def test_backwards_over_several_stretches(pipe):
    with pipe.video(moving(AT_ONCE + 3)) as opened:
        opened.add("a", points=DISC, frame=AT_ONCE + 2)
        assert [one.frame for one in opened.stream(reverse=True)] == list(range(AT_ONCE + 2, -1, -1))


def test_objects_come_and_go(pipe):
    with pipe.video(moving(7)) as opened:
        opened.add("a", points=DISC)
        opened.add("b", points=SQUARE)
        stream = opened.stream()
        assert [next(stream).object_ids for _ in range(2)] == [["a", "b"], ["a", "b"]]
        opened.remove("a")
        opened.add("c", box=BOX)
        third = next(stream)
        assert (third.object_ids, third.colours.tolist()) == (["b", "c"], [1, 2])
        assert opened.frame == 2
        with pytest.raises(OptionError, match="no object 'a' is followed; those that are: b, c"):
            opened.remove("a")
        ahead = opened.add("d", points=DISC, frame=6)  # the stream goes on where it was
        assert (ahead.frame, next(stream).frame) == (6, 3)
        assert opened.object_ids == ["b", "c", "d"]


def test_more_points_are_added_to_those_before(pipe):
    with pipe.video(FILM) as opened:
        both = opened.add("a", points=[*DISC, [40, 30]], point_labels=[1, 0])
        opened.add("b", points=DISC)
        assert opened.add("b", points=[[40, 30]], point_labels=[0], more=True)[0]["iou"] == both[0]["iou"]
        anew = opened.add("b", points=DISC)
        assert anew[0]["iou"] != both[0]["iou"]
        with pytest.raises(InputError, match="only points can be added"):
            opened.add("b", box=BOX, more=True)


@pytest.mark.parametrize(
    ("told", "match", "code"),
    [
        ({}, "got none", "no-prompt"),
        ({"points": [[-1, 2]]}, "outside", "prompt-outside"),
        ({"points": [DISC, DISC]}, "prompts of one object, got those of 2", "bad-prompt"),
        ({"mask": np.ones((3, 4), bool)}, "48x80 px", "bad-prompt"),
        ({"mask": np.ones((48, 80), bool), "points": DISC}, "masks came with points", "bad-prompt"),
        ({"points": DISC, "frame": 6}, "0 to 5, got 6", "frame-outside"),
        ({"points": DISC, "frame": -1}, "0 to 5, got -1", "frame-outside"),
        ({"points": DISC, "frame": 0.5}, "whole one", "frame-outside"),
    ],
)
def test_what_cannot_be_told_is_refused_and_changes_nothing(pipe, told, match, code):
    with pipe.video(FILM) as opened:
        with pytest.raises(InputError, match=match) as caught:
            opened.add("a", **told)
        assert caught.value.code == code
        assert opened.object_ids == []
        with pytest.raises(InputError, match="no object is followed"):
            opened.stream()


def test_a_cut_film_gives_masks_up_to_there(pipe):
    broken, seen = [FILM[0], FILM[1], b"no picture", FILM[3]], []
    with pipe.video(broken) as opened:
        opened.add("a", points=[[5, 5]])
        with pytest.raises(InputError, match="frame 2"):
            seen.extend(masks.frame for masks in opened.stream())
        assert seen == [0, 1]
        assert [masks.frame for masks in opened.stream(start=3)] == [3]


def test_frames_of_several_sizes_each_have_masks_of_their_own(pipe):
    mixed = [moving(3)[0], moving(3, height=60, width=50)[1], moving(3)[2]]
    with pipe.video(mixed) as opened:
        opened.add("a", points=DISC)
        assert [masks.size for masks in opened.stream()] == [(48, 80), (60, 50), (48, 80)]


def test_a_camera_is_followed_as_it_comes(pipe, monkeypatch, tmp_path):
    path = tmp_path / "camera.mp4"
    path.write_bytes(film(6))
    real = av.open
    monkeypatch.setattr(av, "open", lambda place, format: real(str(path)))
    with pipe.video(2) as opened:
        assert opened.frames is None
        opened.add("a", points=[[20, 20]])
        stream = opened.stream()
        assert [next(stream).frame for _ in range(3)] == [0, 1, 2]
        opened.add("b", points=[[40, 20]])
        with pytest.raises(InputError, match="cannot be had"):
            opened.add("b", points=[[40, 20]], frame=0)
        with pytest.raises(InputError, match="read again"):
            next(opened.stream(reverse=True))
        assert [masks.frame for masks in stream] == [3, 4, 5]
        with pytest.raises(InputError, match="cannot be had"):
            opened.image(6)
        assert [masks.frame for masks in opened.stream()] == [5]


def test_a_closed_film_is_not_used(pipe):
    with pipe.video(FILM) as opened:
        opened.add("a", points=DISC)
        stream = opened.stream()
        next(stream)
    for use in (lambda: opened.add("a", points=DISC), lambda: opened.remove("a"), opened.image, opened.stream):
        with pytest.raises(OptionError, match="the session was closed"):
            use()
    with pytest.raises(OptionError, match="the session was closed"):
        next(stream)


@torch.inference_mode()
def test_batches_may_end_in_any_order_and_come_again(pipe):
    """A batch that had no room on the device is run again, after the next one; on several devices any may be first."""
    task, options = pipe.task, pipe.task.options()
    units = list(task.split({"video": FILM, "points": DISC}, options))
    encoded = [pipe.task.forward({"pixel_values": one.inputs["pixel_values"][None]}, options, lambda f, x: f(x))
               for one in units]  # fmt: skip
    parts = {}
    for at in (0, 2, 3, 1, 1, 5, 4, 0):
        parts[at] = task.decode(encoded[at], [units[at].meta], options)[0]
    again = task.merge([parts[at] for at in range(len(units))], options, 0)
    close(again.to_dict(), pipe(FILM, points=DISC).to_dict(), 0)


@pytest.mark.parametrize("kind", KINDS[-2:-1] or KINDS)
def test_bfloat16_follows_what_float32_does(kind):
    found = []
    for dtype in ("bfloat16", "float32"):
        with ours(kind, dtype=dtype) as pipe:
            found.append(np.array([one.masks for one in pipe(FILM[:3], points=DISC)]))
    assert (found[0] & found[1]).sum() / (found[0] | found[1]).sum() > 0.8


def test_frames_are_let_go(pipe, monkeypatch):
    """What grows with a film would be frames; of memories see tests/models/test_tracker.py."""
    alive = weakref.WeakSet()

    class Counted(FittedFrame):
        def __init__(self, *given):
            super().__init__(*given)
            alive.add(self)

        __hash__ = object.__hash__

    monkeypatch.setattr("sensorium.tasks.tracking.film.FittedFrame", Counted)
    with pipe.video(moving(12)) as opened:
        opened.add("a", points=DISC)
        assert max(len(alive) for _ in opened.stream()) <= 4
        opened.add("a", points=DISC, frame=11)
        assert len(opened._told) == 2


def test_a_model_of_films_with_its_own_processor_is_needed():
    wide = transformers.Sam2VideoVideoProcessor(size={"height": 32, "width": 32})
    with pytest.raises(CheckpointError, match="squares of 64 px"):
        ours(processor=wide)
    sam2 = transformers.AutoModelForMaskGeneration.from_pretrained(tiny_sam.folder("sam2"))
    with pytest.raises(TaskMismatchError, match="mask-generation"):
        sensorium.pipeline("video-mask-generation", sam2, processor=wide)


def test_a_task_of_pictures_opens_no_film():
    with (
        sensorium.pipeline("mask-generation", tiny_sam.folder("sam2"), device="cpu") as masks,
        pytest.raises(OptionError, match="takes no films"),
        masks.video(FILM),
    ):
        pass


def test_limits_hold(pipe):
    with (
        ours(limits=MediaLimits(max_video_frames=3)) as small,
        pytest.raises(InputError, match="3"),
        small.video(FILM),
    ):
        pass


def test_a_session_on_a_pretend_card_equals_the_cpu(pipe):
    def told(pipe):
        mask = np.zeros((HEIGHT, WIDTH), bool)
        mask[8:28, 20:44] = True
        with pipe.video(FILM[:3]) as opened:
            opened.add("a", points=DISC)
            opened.add("b", mask=mask)
            stream = opened.stream()
            found = [next(stream) for _ in range(2)]
            opened.add("a", points=[[30, 20]], point_labels=[0])
            return [masks.to_dict() for masks in (*found, *stream, *opened.stream(start=1, reverse=True))]

    with PretendCuda() as cuda, ours(device="cuda") as card:
        found = told(card)
    cuda.check()
    close(found, told(pipe), 0)
