"""Transcript: the text, its chunks with their times, and the forms in which it is saved."""

from __future__ import annotations

import json
import pickle
import re

import numpy as np
import pytest

from sensorium import Transcript
from sensorium.results import Result

WORDS = Transcript("good morning all", ["good", "morning", "all"], [0.0, 0.5, 1.2], [0.4, 1.0, 1.5], index=3)
SEGMENTS = Transcript(" One & two. <b> --> Three.", [" One & two.", " <b> --> Three."], [0.5, 3671.25], [2.0, None])


def test_the_peer_s_schema():
    assert Transcript("hello").to_dict() == {"text": "hello"}
    assert Transcript("", timed=True).to_dict() == {"text": "", "chunks": []}
    assert WORDS.to_dict()["chunks"][1] == {"text": "morning", "timestamp": (0.5, 1.0)}
    assert SEGMENTS[1] == {"text": " <b> --> Three.", "timestamp": (3671.25, None)}
    assert Transcript("a", ["a"], [None], [None], languages=["german"], timed=False).to_dict() == {
        "text": "a",
        "chunks": [{"language": "german", "text": "a"}],
    }


def test_it_is_a_result():
    assert isinstance(WORDS, Result)
    assert (WORDS.index, len(WORDS), str(WORDS)) == (3, 3, "good morning all")
    assert list(WORDS) == WORDS.to_dict()["chunks"]
    assert WORDS.to_dict() == WORDS
    again = pickle.loads(pickle.dumps(WORDS))
    assert again == WORDS
    assert again.index == 3
    assert WORDS.starts.dtype == WORDS.ends.dtype == np.float64
    assert "good morning" in repr(WORDS)
    assert len(repr(Transcript("x" * 5000))) < 300


def test_slices_and_masks_keep_what_they_are_asked_for():
    late = WORDS[WORDS.starts > 0.3]
    assert isinstance(late, Transcript)
    assert (late.text, late.chunks.tolist(), late.index) == ("morning all", ["morning", "all"], 3)
    assert SEGMENTS[:1].text == " One & two."
    assert WORDS[[2, 0]].text == "all good"
    assert WORDS.between(0.45, 1.1).text == "morning"
    assert SEGMENTS.between(4000, 5000).text == " <b> --> Three."
    letters = Transcript("hi you", list("hi you"), range(6), range(1, 7))
    assert letters[3:].text == "you"


@pytest.mark.parametrize(
    "wrong",
    [
        {"chunks": ["a"], "starts": [0.0], "ends": []},
        {"chunks": ["a", "b"], "starts": [0.0], "ends": [1.0]},
        {"chunks": ["a"], "starts": [0.0], "ends": [1.0], "languages": []},
    ],
)
def test_lengths_have_to_agree(wrong):
    with pytest.raises(ValueError, match="of one length"):
        Transcript("a", **wrong)


def test_subtitles(tmp_path):
    SEGMENTS.save(tmp_path / "x.srt")
    assert (tmp_path / "x.srt").read_text(encoding="utf-8") == (
        "1\n00:00:00,500 --> 00:00:02,000\nOne & two.\n\n2\n01:01:11,250 --> 01:01:13,250\n<b> → Three.\n"
    )
    SEGMENTS.save(tmp_path / "x.VTT")
    assert (tmp_path / "x.VTT").read_text(encoding="utf-8") == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:02.000\nOne &amp; two.\n\n01:01:11.250 --> 01:01:13.250\n&lt;b> → Three.\n"
    )


def test_missing_times_come_from_the_neighbours():
    spans = Transcript("a b c", ["a", "b", "c"], [None, None, 4.0], [1.0, None, 5.0])
    assert [line for line in spans.to_srt().splitlines() if "-->" in line] == [
        "00:00:00,000 --> 00:00:01,000",
        "00:00:01,000 --> 00:00:04,000",
        "00:00:04,000 --> 00:00:05,000",
    ]


def test_text_and_json(tmp_path):
    SEGMENTS.save(tmp_path / "x.txt")
    assert (tmp_path / "x.txt").read_text(encoding="utf-8") == "One & two. <b> --> Three.\n"
    WORDS.save(tmp_path / "x.json")
    saved = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))
    assert saved["chunks"][0] == {"text": "good", "timestamp": [0.0, 0.4]}
    with pytest.raises(ValueError, match=r"\.txt, \.json, \.srt, \.vtt"):
        WORDS.save(tmp_path / "x.docx")


def test_without_times_there_are_no_subtitles_and_no_drawing(tmp_path):
    for use in (Transcript("a").to_srt, Transcript("a").to_vtt, Transcript("a").plot):
        with pytest.raises(ValueError, match="return_timestamps"):
            use()


def test_the_drawing_has_a_bar_from_start_to_end():
    image = np.asarray(WORDS.plot(width_px=600))
    assert image.shape == (22 * 4 + 6, 600, 3)
    track = (600 - 84) * 2 / 5
    for row, (start, end) in enumerate(zip(WORDS.starts, WORDS.ends, strict=True), 1):
        blue = (image[22 * row + 11 - 4] == (29, 125, 190)).all(-1).nonzero()[0]
        assert blue.min() == pytest.approx(84 + start / 1.5 * track, abs=1.5)
        assert blue.max() == pytest.approx(84 + end / 1.5 * track, abs=1.5)


def test_long_and_odd_chunks_fit_into_the_drawing():
    odd = Transcript("", ["\x1b[31m" + "wide " * 99, "", "later"] * 100, [5.0] * 300, [4.0] * 300)
    assert odd.plot(width_px=10).size == (240, 22 * 201 + 6)


@pytest.mark.parametrize(
    ("starts", "ends"),
    [
        ([0.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.2]),  # words that Whisper puts at one moment
        ([0.0, 5.0, 2.0, 3.0], [1.0, 4.0, 1.0, 3.0]),  # ends before starts, and out of order
        ([-1.0, 0.0, 0.0004, 0.0], [-0.5, 0.0, 0.0, 0.0]),
        ([None, None, 3.0, None], [None, None, None, np.inf]),
        ([0.0, 0.5, 0.5009, 9.0], [0.5, 0.5004, 0.5011, 9.0]),
    ],
)
def test_every_subtitle_is_shown_for_a_while_and_in_order(starts, ends):
    transcript = Transcript("a b c d", ["a", "b", "c", "d"], starts, ends)
    for text in (transcript.to_srt().replace(",", "."), transcript.to_vtt()):
        cues = re.findall(r"(\d+):(\d+):([\d.]+) --> (\d+):(\d+):([\d.]+)\n(.)", text)
        spans = [[int(h) * 3600 + int(m) * 60 + float(s) for h, m, s in (cue[:3], cue[3:6])] for cue in cues]
        assert sorted(cue[6] for cue in cues) == ["a", "b", "c", "d"]
        assert all(0 <= start < end for start, end in spans)
        assert spans == sorted(spans, key=lambda span: span[0])


def test_a_subtitle_without_length_stays_until_the_next_one():
    words = Transcript("a b c d", ["a", "b", "c", "d"], [1.0, 1.0, 1.2, 9.0], [1.0, 1.2, 1.1, 9.0])
    spans = [line for line in words.to_vtt().splitlines() if "-->" in line]
    assert spans == [
        "00:00:01.000 --> 00:00:01.200",
        "00:00:01.000 --> 00:00:01.200",
        "00:00:01.200 --> 00:00:01.700",
        "00:00:09.000 --> 00:00:09.500",
    ]
