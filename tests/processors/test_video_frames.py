"""`frames`: which frames of a film are taken, and when they are shown."""

from __future__ import annotations

import av
import numpy as np
import pytest

from sensorium.errors import InputError, OptionError
from sensorium.processors.video_frames import frames
from tests.films import film
from tests.media import make_image


def taken(source, **options):
    return [frame.index for frame in frames(source, **options)]


def shown_at(times, moments):
    """The numbers of the frames that are shown at some moments, none twice."""
    return sorted({max(i for i, time in enumerate(times) if time <= moment + 1e-6) for moment in moments})


def test_frames_are_those_that_are_shown_at_even_moments():
    data = film(60)  # two seconds
    assert taken(data) == list(range(60))
    assert taken(data, fps=2) == [0, 15, 30, 45]
    assert taken(data, fps=30) == taken(data, fps=1e12) == list(range(60))
    assert taken(data, fps=7) == shown_at(np.arange(60) / 30, np.arange(14) / 7)
    assert taken(data, fps=0.1) == [0]
    assert taken(data, start_s=1) == list(range(30, 60))
    assert taken(data, start_s=0.5, end_s=1.5, fps=4) == [15, 22, 30, 37]
    assert taken(data, end_s=0.1) == [0, 1, 2]
    assert taken(data, start_s=5) == []


def test_times_are_the_stream_s_not_counted():
    gaps = np.array([1, 1, 1, 30, 1, 1, 60, 1, 1, 1])
    stamps = np.concatenate([[0], np.cumsum(gaps)])
    data = film(11, stamps=stamps, form="matroska")
    times = [frame.time_s for frame in frames(data)]
    assert times == pytest.approx(stamps / 30, abs=1e-3)
    assert taken(data, fps=1) == shown_at(times, range(4))
    assert taken(data, fps=10) == shown_at(times, np.arange(0, times[-1] + 1e-6, 0.1))


def test_pictures_have_times_where_a_rate_is_given():
    pictures = [make_image(seed=seed) for seed in range(10)]
    assert [frame.time_s for frame in frames(pictures)] == [None] * 10
    assert [(frame.index, frame.time_s) for frame in frames(pictures, rate=5, fps=1)] == [(0, 0.0), (5, 1.0)]
    later = list(frames(film(10), start_s=0.1))
    assert [frame.time_s for frame in frames(later)] == pytest.approx([i / 30 for i in range(7)])
    for options in ({"fps": 2}, {"start_s": 1}):
        with pytest.raises(InputError) as caught:
            list(frames(pictures, **options))
        assert caught.value.code == "missing-rate"
    for source, rate in ((film(2), 5), (pictures, 0), (pictures, float("nan"))):
        with pytest.raises(InputError) as caught:
            list(frames(source, rate=rate))
        assert caught.value.code == "bad-rate"


def test_they_can_be_gone_through_again():
    film_of_four = frames(film(4), fps=30)
    assert [frame.index for frame in film_of_four] == [frame.index for frame in film_of_four] == [0, 1, 2, 3]
    assert repr(frames("x.mp4", fps=2)) == "frames('x.mp4', fps=2)"


def test_options_are_checked_before_anything_is_opened():
    for options in ({"fps": 0}, {"fps": "2"}, {"fps": True}, {"start_s": -1}, {"start_s": 2, "end_s": 1}):
        with pytest.raises(OptionError):
            frames("nowhere.mp4", **options)
    with pytest.raises(InputError):
        list(frames("nowhere.mp4"))


def test_of_a_camera_frames_are_taken_as_they_come(monkeypatch, tmp_path):
    path = tmp_path / "camera.mp4"
    path.write_bytes(film(60))
    real = av.open
    monkeypatch.setattr(av, "open", lambda place, format: real(str(path)))
    assert taken(0, fps=2) == [0, 15, 30, 45]
    assert taken(0, start_s=1, end_s=1.1) == [30, 31, 32]
    assert len(taken(0)) == 60
