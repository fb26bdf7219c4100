"""What was said in a sound, and when."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sensorium.results.columns import Field, Scalar, Structs
from sensorium.results.kinds import BOOL, SECONDS, TEXT, TEXT_OR_NONE
from sensorium.results.rows import Rows
from sensorium.results.saving import suffix_of, written_whole
from sensorium.results.timeline import clock, draw_rows, draw_under_audio

if TYPE_CHECKING:
    from PIL import Image

_SHOWN_MS = 500  # how long a subtitle stays to which the model gave no time


class Transcript(Rows):
    """A text, and the chunks of it whose times are known.

    Attributes:
        text: what was said, whole.
        chunks: `(N,)` str, stretches of the text (segments, words or characters); empty unless times were asked for.
        starts: `(N,)` float64, seconds from the beginning of the sound; NaN where the model gave no time.
        ends: `(N,)` float64, seconds; NaN where the model gave no time.
        languages: `(N,)` the name of each chunk's language, or None; None as a whole unless asked for.
        timed: whether times were asked for; then `to_dict()` has `chunks`, even if there are none.
        index: the position of the input among the call's inputs.
    """

    __slots__ = ("chunks", "ends", "index", "languages", "starts", "text", "timed")

    columns = (
        Scalar("text", TEXT),
        Structs(
            "chunks",
            Field("text", TEXT, "chunks"),
            Field("start", SECONDS, "starts"),
            Field("end", SECONDS, "ends"),
            Field("language", TEXT_OR_NONE, "languages", optional=True),
        ),
        Scalar("timed", BOOL),
    )

    def __init__(
        self,
        text: str,
        chunks: Sequence[str] = (),
        starts: Any = (),
        ends: Any = (),
        *,
        languages: Sequence[str | None] | None = None,
        timed: bool | None = None,
        index: int = 0,
    ) -> None:
        """Checks that the chunks and what is known of them agree in length.

        Raises:
            ValueError: the lengths differ.
        """
        self.text = text
        self.chunks: NDArray[np.object_] = np.array(list(chunks), dtype=object)
        self.starts: NDArray[np.float64] = np.array([np.nan if s is None else s for s in starts], dtype=np.float64)
        self.ends: NDArray[np.float64] = np.array([np.nan if e is None else e for e in ends], dtype=np.float64)
        self.languages = None if languages is None else tuple(languages)
        self.timed, self.index = len(self.chunks) > 0 and languages is None if timed is None else timed, index
        lengths = {len(self.chunks), len(self.starts), len(self.ends)}
        lengths |= set() if self.languages is None else {len(self.languages)}
        if len(lengths) != 1:
            raise ValueError(f"chunks, starts, ends and languages must be of one length, got {sorted(lengths)}")

    def __len__(self) -> int:
        """How many chunks there are."""
        return len(self.chunks)

    def __bool__(self) -> bool:
        """Whether anything was said; without times there are no chunks to count."""
        return bool(self.text.strip()) or len(self) > 0

    def _take(self, key: Any) -> Transcript:
        chunks = self.chunks[key].tolist()
        languages = None if self.languages is None else np.array(self.languages, dtype=object)[key].tolist()
        joined = self._joint().join(chunks)
        return Transcript(
            joined,
            chunks,
            self.starts[key],
            self.ends[key],
            languages=languages,
            timed=self.timed,
            index=self.index,
        )

    def __str__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Transcript):
            return self.to_dict() == other.to_dict()
        return self.to_dict() == other if isinstance(other, dict) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # compares by value and holds arrays

    def __repr__(self) -> str:
        shown = self.text if len(self.text) <= 200 else self.text[:199] + "…"
        chunks = f", {len(self)} chunks" if len(self) else ""
        return f"Transcript({shown!r}{chunks}, index={self.index})"

    def between(self, start_s: float, end_s: float) -> Transcript:
        """The chunks that lie at least in part between two times, in seconds."""
        starts = np.where(np.isnan(self.starts), -np.inf, self.starts)
        ends = np.where(np.isnan(self.ends), np.inf, self.ends)
        return self[(ends > start_s) & (starts < end_s)]

    def lines(self) -> list[str]:
        """What was said, for a terminal."""
        return [self.text]

    def to_dict(self) -> dict[str, Any]:
        """The result in Transformers' schema.

        Returns:
            `{"text": str}`, with `"chunks": [{"text": str, "timestamp": (start, end)}, …]` where times were asked for;
            seconds, None where the model gave none. Chunks have a `"language"` too where it was asked for.
        """
        if not self.timed and self.languages is None:
            return {"text": self.text}
        return {"text": self.text, "chunks": [self._row(i) for i in range(len(self))]}

    def records(self) -> list[dict[str, Any]]:
        """One flat dict for each chunk, its times as `start` and `end`; one of the whole text where there are none."""
        rows = [self._row(i) for i in range(len(self))] or [{"text": self.text}]
        timed = [(row, row.pop("timestamp", None)) for row in rows]
        return [row if span is None else {**row, "start": span[0], "end": span[1]} for row, span in timed]

    def to_srt(self) -> str:
        """The chunks as SubRip subtitles.

        Raises:
            ValueError: the transcript has no times.
        """
        cues = [f"{i}\n{span}\n{text}\n" for i, (span, text) in enumerate(self._cues(","), 1)]
        return "\n".join(cues)

    def to_vtt(self) -> str:
        """The chunks as WebVTT subtitles.

        Raises:
            ValueError: the transcript has no times.
        """
        escaped = ((span, text.replace("&", "&amp;").replace("<", "&lt;")) for span, text in self._cues("."))
        return "WEBVTT\n\n" + "\n".join(f"{span}\n{text}\n" for span, text in escaped)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the transcript in the form that the path's suffix names, UTF-8.

        Args:
            path: ends in `.txt` (the text), `.json` (`to_dict()`), `.srt` or `.vtt` (subtitles).

        Raises:
            ValueError: another suffix, or subtitles without times.
        """
        forms = {
            ".txt": lambda: self.text.strip() + "\n",
            ".json": lambda: json.dumps(self.to_dict(), ensure_ascii=False, indent=2) + "\n",
            ".srt": self.to_srt,
            ".vtt": self.to_vtt,
        }
        suffix = suffix_of(path, tuple(forms), what="a transcript")
        text = forms[suffix]()
        with written_whole(path) as part:
            part.write_text(text, encoding="utf-8", newline="\n")

    def plot(self, image: None = None, /, *, audio: Any = None, width_px: int = 960) -> Image.Image:
        """Draws when each chunk was said: in rows with a bar from its start to its end, or under the sound.

        Args:
            image: None; what was said is not drawn on a picture.
            audio: the sound, in any form that the pipeline takes, an array with its rate: its spectrogram is drawn,
                a box for each chunk under it, and the text, which then needs no times.
            width_px: of the drawing, at least 240; as tall as it has to be; shows 200 rows at most.

        Raises:
            ValueError: the transcript has no times, and there is no sound; or there is a picture.
            InputError: the sound cannot be read.
        """
        if image is not None:
            raise ValueError("a transcript is not drawn on a picture; call plot() without one, or with audio=")
        if audio is not None:
            return draw_under_audio(audio, self.text, self.chunks.tolist(), *self._spans(), width_px=width_px)
        self._check_timed()
        shown = self[:200]
        return draw_rows(shown.chunks.tolist(), *shown._spans(), width_px=width_px)

    def _row(self, i: int) -> dict[str, Any]:
        chunk: dict[str, Any] = {"text": str(self.chunks[i])}
        if self.languages is not None:
            chunk = {"language": self.languages[i], **chunk}
        if self.timed:
            start, end = float(self.starts[i]), float(self.ends[i])
            chunk["timestamp"] = (None if np.isnan(start) else start, None if np.isnan(end) else end)
        return chunk

    def _joint(self) -> str:
        """What stands between the chunks in the text: nothing where they bring their own spaces."""
        return "" if "".join(self.chunks.tolist()).split() == self.text.split() else " "

    def _check_timed(self) -> None:
        if not len(self):
            raise ValueError("this transcript has no times; ask for them with return_timestamps")

    def _spans(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Starts and ends without gaps: a missing start is the end before, a missing end the start after."""
        starts, ends = (np.where(np.isfinite(side), side, np.nan) for side in (self.starts, self.ends))
        for i in range(len(self)):
            if np.isnan(starts[i]):
                starts[i] = ends[i - 1] if i else 0.0
            if np.isnan(ends[i]):
                later = starts[i + 1 :]
                timed = later[~np.isnan(later)]
                ends[i] = max(starts[i], timed[0]) if len(timed) else starts[i] + 2.0
        return starts, ends

    def _cues(self, point: str) -> Iterator[tuple[str, str]]:
        """Spans and texts in the order of time; what has no length, or less, stays for a while."""
        self._check_timed()
        starts, ends = (np.rint(side * 1000).clip(min=0).astype(np.int64) for side in self._spans())
        for i in np.argsort(starts, kind="stable").tolist():
            shown = " ".join(self.chunks[i].split()).replace("-->", "→")
            start, end = int(starts[i]), int(ends[i])
            if end <= start:
                later = starts[starts > start]
                end = min(start + _SHOWN_MS, int(later.min(initial=start + _SHOWN_MS)))
            if shown:
                yield f"{clock(start, point)} --> {clock(end, point)}", shown
