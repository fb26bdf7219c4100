"""Films: every form and container, frames found by jumping, and what is wrong with bad ones."""

from __future__ import annotations

import base64
import io
from collections import Counter

import av
import numpy as np
import pytest
import torch
from PIL import Image

from sensorium.errors import InputError, LimitError, OptionError
from sensorium.processors import video_faults, video_live
from sensorium.processors.limits import MediaLimits
from sensorium.processors.media import load_image, load_pil
from sensorium.processors.video_reading import is_video_batch, open_video
from tests.films import decoded, drawn, film, only_sound
from tests.media import jpeg, make_image

CONTAINERS = {
    "mp4": {"g": 12},
    "mp4 with frames that look ahead": {"bf": 3, "g": 8},
    "mp4 with open groups": {"x264-params": "open-gop=1:keyint=10:bframes=3"},
    "mp4 in fragments": {"muxer": {"movflags": "frag_keyframe+empty_moov"}, "g": 12},
    "mpeg4 in mp4": {"codec": "mpeg4", "bf": 2},
    "mov": {"form": "mov"},
    "avi": {"form": "avi", "bf": 2},
    "mkv": {"form": "matroska", "g": 12},
    "mkv with uneven times": {"form": "matroska", "stamps": np.cumsum(np.arange(48) % 5 + 1), "g": 12},
    "vp8 with frames that are not shown": {
        "form": "webm", "codec": "libvpx", "auto-alt-ref": 1, "lag-in-frames": 16, "deadline": "realtime", "g": 16,
    },
    "vp9": {"form": "webm", "auto-alt-ref": 1, "lag-in-frames": 16, "cpu-used": 8, "deadline": "realtime", "g": 16},
    "gif": {"form": "gif"},
    "mpeg": {"form": "mpeg", "bf": 2, "g": 12},
    "ts": {"form": "mpegts", "g": 12},
    "uneven times": {"stamps": np.cumsum(np.arange(48) % 7 + 1), "g": 12},
}  # fmt: skip
ALL = MediaLimits(video_formats=("AVI", "ASF", "FLV", "GIF", "MKV", "MP4", "MPEG", "OGG", "TS"))


def code_of(source, **limits):
    with pytest.raises(InputError) as caught, open_video(source, limits=MediaLimits(**limits)) as reader:
        list(reader.read(range(reader.frames)))
    assert caught.value.source is not None
    return caught.value.code


def rows(frame):
    return frame.pixels.permute(1, 2, 0).numpy()


@pytest.mark.parametrize("settings", CONTAINERS.values(), ids=CONTAINERS)
def test_frames_and_times_equal_those_of_decoding_from_start_to_end(settings):
    data = film(**settings)
    expected = decoded(data)
    with open_video(data) as reader:
        assert reader.frames == len(expected) == 48
        assert reader.times == pytest.approx([time - expected[0][0] for time, _ in expected], abs=1e-6)
        # further on where it was, into what was left out, back, and on again
        for indices in (
            range(48),
            [3],
            [0, 5, 6, 40, 41, 47],
            [20, 21, 30],
            [31],
            [32, 35],
            [47],
            [12, 12, 13],
            [5, 40],
        ):
            found = list(reader.read(indices))
            assert [frame.index for frame in found] == list(indices)
            assert [frame.time_s for frame in found] == reader.times[list(indices)].tolist()
            for frame in found:
                assert np.array_equal(rows(frame), expected[frame.index][1])


@pytest.mark.parametrize("form", ["asf", "flv", "ogg"])
def test_rarer_containers_are_read_where_they_are_allowed(form):
    data = film(form=form, codec={"asf": "wmv2", "flv": "flv", "ogg": "libvpx"}[form])
    assert code_of(data) == "format-not-allowed"
    with open_video(data, limits=ALL) as reader:
        assert [frame.index for frame in reader.read([0, 30])] == [0, 30]
        assert np.array_equal(rows(next(reader.read([30]))), decoded(data)[30][1])


def test_every_form_gives_the_same_frames(tmp_path):
    data = film(12)
    path = tmp_path / "x.mp4"
    path.write_bytes(data)
    uri = "data:video/mp4;base64," + base64.b64encode(data).decode()
    expected = [pixels for _, pixels in decoded(data)]
    (tmp_path / "frames").mkdir()
    for index, pixels in enumerate(expected):
        Image.fromarray(pixels).save(tmp_path / "frames" / f"{index}.png")  # 10.png comes after 9.png
    stacked = np.stack(expected)
    pictures = [expected, list(map(torch.from_numpy, expected)), stacked, torch.from_numpy(stacked)]
    named = [path, str(path), tmp_path / "frames", str(tmp_path / "frames")]
    unnamed = [data, bytearray(data), memoryview(data), io.BytesIO(data), uri, *pictures, stacked.transpose(0, 3, 1, 2)]
    for source in [*named, *unnamed]:
        with open_video(source) as reader:
            assert reader.frames == 12
            for frame in reader.read([0, 4, 11]):
                assert np.array_equal(rows(frame), expected[frame.index])
                assert frame.source == (str(source) if any(source is one for one in named) else None)


def test_a_large_file_is_read_in_pieces_whatever_max_bytes_says(tmp_path):
    path = tmp_path / "x.mp4"
    path.write_bytes(film(8))
    with open_video(path, limits=MediaLimits(max_bytes=10)) as reader:
        assert reader.frames == 8
    assert code_of(path.read_bytes(), max_bytes=10) == "too-many-bytes"


def test_a_film_of_one_frame_and_of_none():
    data = film(1)
    with open_video(data) as reader:
        assert (reader.frames, reader.times.tolist()) == (1, [0.0])
        assert np.array_equal(rows(next(reader.read([0]))), decoded(data)[0][1])
    for empty in (film(0, form="matroska"), film(0, form="avi"), film(0), [], np.zeros((0, 8, 8, 3), np.uint8)):
        assert code_of(empty) == "zero-sized"


@pytest.mark.parametrize(
    ("settings", "turn"),
    [
        ({"rotation": 90}, np.rot90),
        ({"rotation": 180}, lambda pixels: pixels[::-1, ::-1]),
        ({"rotation": -90}, lambda pixels: np.rot90(pixels, -1)),
        ({"matrix": (-65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)}, lambda pixels: pixels[:, ::-1]),
        ({"matrix": (65536, 0, 0, 0, -65536, 0, 0, 0, 1 << 30)}, lambda pixels: pixels[::-1]),
        ({"matrix": (0, 65536, 0, 65536, 0, 0, 0, 0, 1 << 30)}, lambda pixels: pixels.transpose(1, 0, 2)),
        ({"matrix": (0, -65536, 0, -65536, 0, 0, 0, 0, 1 << 30)}, lambda p: p[::-1, ::-1].transpose(1, 0, 2)),
        ({"rotation": 30}, lambda pixels: pixels),
    ],
)
def test_a_turned_film_comes_out_upright(settings, turn):
    data = film(6, **settings)
    with open_video(data) as reader:
        for frame, (_, pixels) in zip(reader.read(range(6)), decoded(data), strict=True):
            assert np.array_equal(rows(frame), turn(pixels))


def test_a_film_that_changes_its_size_gives_each_frame_in_its_own():
    data = film(10, form="mpegts") + film(10, 96, 32, form="mpegts", seed=1)
    expected = decoded(data)
    with open_video(data) as reader:
        assert reader.frames == 20
        assert [tuple(frame.pixels.shape[1:]) for frame in reader.read([9, 10])] == [(48, 64), (32, 96)]
        for indices in (range(20), [4, 15], [2]):
            for frame in reader.read(indices):
                assert np.array_equal(rows(frame), expected[frame.index][1])
        assert reader.times == pytest.approx(np.arange(20) / 30, abs=1e-4)
    assert code_of(data, max_pixels=64 * 48 - 1) == "too-many-pixels"


@pytest.mark.parametrize("form", ["mp4", "matroska", "avi", "gif"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.98])
def test_a_film_cut_in_the_middle_says_so(form, share):
    data = film(48, form=form)
    assert code_of(data[: int(share * len(data))]) == "truncated"


def test_a_film_cut_behind_its_header_says_so():
    data = film(48, muxer={"movflags": "+faststart+frag_keyframe+empty_moov"}, g=8)
    assert code_of(data[: len(data) // 2]) == "truncated"


def test_of_a_cut_stream_made_to_be_cut_what_is_left_is_a_film():
    data = film(48, form="mpegts", g=8)
    middle = data[188 * (len(data) // 188 // 3) : 188 * (len(data) // 188 * 2 // 3)]
    start = data[: 188 * 3]  # which names its streams
    with open_video(start + middle) as reader:
        assert 0 < reader.frames < 48
        assert len(list(reader.read(range(reader.frames)))) == reader.frames


def test_damage_is_told_at_the_frame_where_it_shows():
    data = bytearray(film(48, 160, 120, g=12, crf=1))
    middle = len(data) // 2
    data[middle : middle + 3000] = b"\xff" * 3000
    with open_video(bytes(data)) as reader:
        assert reader.frames == 48
        assert next(reader.read([0])).index == 0
        with pytest.raises(InputError) as caught:
            list(reader.read(range(48)))
    assert caught.value.code == "corrupt"


def test_what_is_no_film_is_named():
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1/x.ts\n"
    listed = b"ffconcat version 1.0\nfile '/etc/passwd'\n"
    sounds = [only_sound(), only_sound("matroska"), b"RIFF\x24\0\0\0WAVEfmt " + bytes(40)]
    for source in [jpeg(), playlist, listed, *sounds, b"<html>404</html>", bytes(4000)]:
        assert code_of(source) == "not-a-film", source[:40]
    heif = b"\0\0\0\x18ftypavif" + bytes(400)
    assert code_of(heif) == "not-a-film"


def test_a_code_that_nothing_decodes_is_named():
    data = film(4)
    assert data.count(b"avc1") >= 1
    assert code_of(data.replace(b"avc1", b"zzz1")) == "unsupported-format"


def test_changed_bytes_are_input_errors_or_films():
    """A hundred films, each with some bytes changed or its end cut off."""
    whole = [film(6, form=form, g=3) for form in ("mp4", "matroska", "avi", "mpegts")] + [film(6, form="gif")]
    chance = np.random.default_rng(0)
    codes = Counter()
    for data in whole * 24:
        changed = bytearray(data[: len(data) if chance.random() < 0.8 else chance.integers(1, len(data))])
        for place in chance.integers(0, min(len(changed), 2000), chance.integers(1, 20)):
            changed[place] = chance.integers(0, 256)
        try:
            with open_video(bytes(changed)) as reader:
                codes["a film"] += len(list(reader.read([0, reader.frames - 1]))) > 0
        except InputError as error:
            codes[error.code] += 1
    assert codes.total() == 120
    assert min(codes["a film"], codes["truncated"], codes["corrupt"]) > 10
    assert codes.keys() <= {"a film", "truncated", "corrupt", "zero-sized", "not-a-film", "unsupported-format",
                            "too-long", "too-many-frames", "too-many-pixels"}  # fmt: skip


def test_what_cannot_be_a_film_is_an_input_error(tmp_path):
    (tmp_path / "empty").mkdir()
    codes = {
        code_of(tmp_path / "nowhere.mp4"): "missing-file",
        code_of(tmp_path / "empty"): "is-a-directory",
        code_of(b""): "empty-file",
        code_of(None): "unsupported-type",
        code_of(True): "unsupported-type",
        code_of(np.zeros((8, 8, 3), np.uint8)): "bad-shape",
        code_of("data:video/mp4;base64,%%"): "bad-data-uri",
        code_of("http://127.0.0.1:1/x.mp4"): "url-not-allowed",
    }
    assert all(got == expected for got, expected in codes.items())


def test_a_bad_frame_of_a_list_is_named():
    with open_video([make_image(), b"no picture"]) as reader, pytest.raises(InputError, match="frame 1") as caught:
        list(reader.read([0, 1]))
    assert caught.value.code == "not-a-picture"


def claiming(frames):
    """An AVI whose header tells of so many frames."""
    data = bytearray(film(10, form="avi"))
    data[48:52] = frames.to_bytes(4, "little")  # of the whole
    at = data.index(b"vids") + 32
    data[at : at + 4] = frames.to_bytes(4, "little")  # of the stream
    return bytes(data)


def test_a_header_that_claims_too_much_is_refused_before_anything_is_decoded():
    assert code_of(claiming(10**9)) == "too-many-frames"
    assert code_of(claiming(900_000)) == "too-long"
    with open_video(claiming(20)) as reader:  # what there is counts
        assert reader.frames == 10
    assert code_of(film(10), max_video_frames=9) == "too-many-frames"
    assert code_of(film(10, form="matroska"), max_video_frames=9) == "too-many-frames"
    assert code_of(film(10, stamps=range(0, 1000, 100)), max_seconds=10) == "too-long"
    assert code_of(film(10, form="mpegts"), max_seconds=0.1) == "too-long"
    untold = film(10, form="matroska", muxer={"live": "1"}, stamps=range(0, 1000, 100))  # its header has no duration
    assert code_of(untold, max_seconds=10) == "too-long"
    with open_video(untold, limits=MediaLimits(max_seconds=31)) as reader:
        assert reader.times[-1] == 30
    assert code_of([make_image()] * 10, max_video_frames=9) == "too-many-frames"
    assert code_of(film(3), max_pixels=64 * 48 - 1) == "too-many-pixels"
    with open_video(film(3), limits=MediaLimits(max_pixels=64 * 48)) as reader:
        assert reader.frames == 3


def test_a_frame_larger_than_its_header_says_is_refused():
    data = film(3, form="matroska", codec="libx264")
    at = data.index(b"\xb0\x81\x40\xba\x81\x30")  # its width and height
    small = data[: at + 2] + b"\x10" + data[at + 3 : at + 5] + b"\x10" + data[at + 6 :]
    assert code_of(small, max_pixels=1000) in ("too-many-pixels", "corrupt")


def test_limits_of_films_are_checked():
    with pytest.raises(OptionError, match="video_formats"):
        MediaLimits(video_formats=("MP4", "HLS"))
    with pytest.raises(OptionError, match="max_video_frames"):
        MediaLimits(max_video_frames=0)
    assert MediaLimits(video_formats=("mp4",)).video_formats == ("MP4",)


def test_without_pyav_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    assert code_of(film_before) == "missing-library"
    with pytest.raises(InputError, match=r"sensorium\[video\]"):
        video_faults.pyav("x.mp4")
    with open_video([make_image()]) as reader:  # pictures need none
        assert reader.frames == 1


film_before = film(2)


def test_a_camera_gives_frames_as_they_come(monkeypatch, tmp_path):
    path = tmp_path / "camera.mp4"
    path.write_bytes(film(6))
    asked = []

    def opened(place, format):
        asked.append((place, format))
        return real(str(path))

    real = av.open
    monkeypatch.setattr(video_live.sys, "platform", "linux")
    monkeypatch.setattr(av, "open", opened)
    with open_video(2) as camera:
        assert [frame.index for frame in camera.read([1, 4])] == [1, 4]
        with pytest.raises(InputError, match="camera") as caught:
            _ = camera.frames
    assert caught.value.code == "endless"
    assert asked == [("/dev/video2", "v4l2")]


def test_a_camera_that_is_not_there_says_so():
    with pytest.raises(InputError, match="camera 73") as caught:
        open_video(73)
    assert caught.value.code == "missing-file"


def test_several_films_are_told_from_the_frames_of_one():
    frames = [drawn(index, 4, 8, 8, 0) for index in range(4)]
    for one in (frames, np.stack(frames), "x.mp4", [make_image()], tuple(map(torch.from_numpy, frames))):
        assert not is_video_batch(one)
    for several in (["x.mp4"], [frames, frames], np.stack([frames, frames]), [np.stack(frames)], [b"", frames], []):
        assert is_video_batch(several)


def test_a_frame_is_a_picture():
    with open_video(film(4)) as reader:
        (frame,) = reader.read([2])
    assert load_image(frame) is frame.pixels
    assert np.array_equal(np.asarray(load_pil(frame)), rows(frame))
    assert "2 at 0.067 s, 64x48 px" in repr(frame)


def test_limit_errors_are_told_from_others():
    with pytest.raises(LimitError):
        open_video(film(3), limits=MediaLimits(max_pixels=10))
