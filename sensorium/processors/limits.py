"""What an input may cost before it is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from sensorium.errors import InputError, LimitError, OptionError
from sensorium.processors.addresses import checked_beginnings

FORMATS = ("AVIF", "BMP", "GIF", "HEIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
SOUND_FORMATS = ("AIFF", "FLAC", "MP3", "OGG", "RF64", "WAV")
VIDEO_FORMATS = ("AVI", "GIF", "MKV", "MP4", "MPEG", "TS")
_READABLE = (*SOUND_FORMATS, "AU", "CAF", "W64")
_READABLE_FILMS = (*VIDEO_FORMATS, "ASF", "FLV", "OGG")


_ABOVE_ZERO = (
    "max_pixels", "max_frames", "max_bytes", "timeout_s", "max_seconds", "max_channels", "max_video_frames", "decode_s",
)  # fmt: skip
_FORMAT_FIELDS: tuple[tuple[str, str, tuple[str, ...]], ...] = (  # with an example, and all that can be named
    ("formats", "('JPEG', 'PNG')", ()),
    ("sound_formats", "('WAV', 'FLAC')", _READABLE),
    ("video_formats", "('MP4', 'MKV')", _READABLE_FILMS),
)


@dataclass(frozen=True)
class MediaLimits:
    """The bounds that every picture, sound and film has to keep, and where they may come from.

    Attributes:
        max_pixels: width x height of one picture, of an animation's canvas, or of a film's frame.
        max_frames: frames of one animation (GIF, APNG, WebP, AVIF) that is taken as a picture. Only the first is used.
        max_bytes: bytes of one encoded file, URL body (after decompression) or data URI. A sound's or a film's file on
            disk, which is read in pieces, is bounded by `max_seconds` instead.
        timeout_s: wall clock for one URL or remote file in seconds: name look-up, redirects and body together.
        allow_urls: whether URLs and remote files are fetched at all.
        allow_private_addresses: whether a URL may lead to a loopback, private or link-local address.
        allow_remote: beginnings of the addresses on remote file systems that are opened, such as `s3://bucket/` or
            `s3://`; none unless named, since they are opened with whatever credentials the process has.
        formats: the file formats that are opened, by Pillow's names (in any case). JPEG includes MPO (JPEGs that carry
            a second picture); HEIF is read where pillow-heif is installed. Formats outside the default are decoded by
            whatever Pillow brings for them.
        max_seconds: seconds of one sound or film, by its header, and by what is read where that does not say.
        max_channels: channels of one sound.
        sound_formats: the sound formats that are opened, in any case, of AIFF, AU, CAF, FLAC, MP3, OGG, RF64, W64
            and WAV.
        max_video_frames: frames of one film, by its header, and by what is read of it.
        video_formats: the formats of films that are opened, in any case, of ASF (WMV), AVI, FLV, GIF, MKV (WebM), MP4
            (MOV), MPEG, OGG and TS.
        isolate: whether encoded pictures are decoded in helper processes, which a crash, a lack of memory or the time
            limit ends in place of this one.
        decode_s: wall clock for decoding one picture in seconds, where pictures are isolated.

    Raises:
        OptionError: a bound that is not positive, an empty list of formats, an unknown format of sound or film, or a
            beginning of addresses that leads to no remote file system.
    """

    max_pixels: int = 100_000_000
    max_frames: int = 10_000
    max_bytes: int = 256 * 2**20
    timeout_s: float = 20.0
    allow_urls: bool = True
    allow_private_addresses: bool = False
    allow_remote: tuple[str, ...] = ()
    formats: tuple[str, ...] = FORMATS
    max_seconds: float = 4 * 3600.0
    max_channels: int = 32
    sound_formats: tuple[str, ...] = SOUND_FORMATS
    max_video_frames: int = 1_000_000
    video_formats: tuple[str, ...] = VIDEO_FORMATS
    isolate: bool = False
    decode_s: float = 20.0

    @classmethod
    def untrusted(cls) -> Self:
        """The bounds for inputs of strangers: the defaults, with pictures decoded in helper processes."""
        return cls(isolate=True)

    def __post_init__(self) -> None:
        for field in _ABOVE_ZERO:
            value = getattr(self, field)
            if not value > 0:
                raise OptionError(f"MediaLimits.{field} has to be above 0, got {value!r}.")
        object.__setattr__(self, "allow_remote", checked_beginnings(self.allow_remote))
        if self.isolate not in (True, False):
            raise OptionError(f"MediaLimits.isolate has to be True or False, got {self.isolate!r}.")
        for field, example, readable in _FORMAT_FIELDS:
            names: Any = getattr(self, field)  # a bare string is a tuple of letters to Python
            if isinstance(names, str) or not names:
                raise OptionError(
                    f"MediaLimits.{field} has to be a tuple of format names such as {example}, got {names!r}."
                )
            object.__setattr__(self, field, tuple(name.upper() for name in names))
            unknown = set(getattr(self, field)).difference(readable) if readable else ()
            if unknown:
                known = ", ".join(sorted(readable))
                raise OptionError(f"MediaLimits.{field}: expected names out of {known}, got {min(unknown)!r}.")

    def check_size(self, width: int, height: int, *, name: str) -> None:
        """Refuse a picture without pixels, or with more than `max_pixels`.

        Raises:
            InputError: `zero-sized`.
            LimitError: `too-many-pixels`.
        """
        if width <= 0 or height <= 0:
            raise InputError(
                f"{name}: expected a picture of at least 1x1 px, got {width}x{height}.",
                code="zero-sized",
                source=name,
            )
        if width * height > self.max_pixels:
            raise LimitError(
                f"{name}: expected at most {self.max_pixels:,} pixels, got {width}x{height} = "
                f"{width * height:,}. Scale it down, or raise MediaLimits.max_pixels if you trust it.",
                code="too-many-pixels",
                source=name,
            )

    def check_frames(self, frames: int, *, name: str) -> None:
        """Refuse an animation of more than `max_frames`.

        Raises:
            LimitError: `too-many-frames`.
        """
        if frames > self.max_frames:
            raise LimitError(
                f"{name}: expected an animation of at most {self.max_frames:,} frames, got {frames:,} or more. "
                f"Extract the frame you want, or raise MediaLimits.max_frames.",
                code="too-many-frames",
                source=name,
            )

    def check_sound(self, frames: int, rate: int, channels: int, *, name: str) -> None:
        """Refuse a sound of more than `max_seconds`, or of more than `max_channels`.

        Args:
            frames: samples a channel.
            rate: frames a second.
            channels: samples a frame.
            name: what to call the input in an error.

        Raises:
            LimitError: `too-long`, `too-many-channels`.
        """
        if frames > self.max_seconds * rate:
            raise LimitError(
                f"{name}: expected at most {self.max_seconds:,.0f} s of sound, got {frames / rate:,.0f} s or more. "
                f"Cut it, or raise MediaLimits.max_seconds if you trust it.",
                code="too-long",
                source=name,
            )
        if channels > self.max_channels:
            raise LimitError(
                f"{name}: expected at most {self.max_channels} channels, got {channels}. Mix them down, or raise "
                f"MediaLimits.max_channels.",
                code="too-many-channels",
                source=name,
            )

    def check_video(self, frames: int, seconds: float, *, name: str) -> None:
        """Refuse a film of more than `max_video_frames`, or of more than `max_seconds`.

        Args:
            frames: of the film, as far as is known.
            seconds: that it lasts, as far as is known.
            name: what to call the input in an error.

        Raises:
            LimitError: `too-many-frames`, `too-long`.
        """
        if frames > self.max_video_frames:
            raise LimitError(
                f"{name}: expected a film of at most {self.max_video_frames:,} frames, got {frames:,} or more. Cut it, "
                f"or raise MediaLimits.max_video_frames if you trust it.",
                code="too-many-frames",
                source=name,
            )
        if seconds > self.max_seconds:
            raise LimitError(
                f"{name}: expected at most {self.max_seconds:,.0f} s of film, got {seconds:,.0f} s or more. Cut it, or "
                f"raise MediaLimits.max_seconds if you trust it.",
                code="too-long",
                source=name,
            )

    def check_bytes(self, size: int, *, name: str, kind: str = "picture") -> None:
        """Refuse an encoded picture (or another `kind` of input) that is empty, or larger than `max_bytes`.

        Raises:
            InputError: `empty-file`.
            LimitError: `too-many-bytes`.
        """
        if size == 0:
            raise InputError(
                f"{name}: expected an encoded {kind}, got 0 bytes. Check how it was written or downloaded.",
                code="empty-file",
                source=name,
            )
        if size > self.max_bytes:
            raise LimitError(
                f"{name}: expected at most {self.max_bytes:,} bytes, got {size:,} or more. "
                f"Pass a smaller file, or raise MediaLimits.max_bytes.",
                code="too-many-bytes",
                source=name,
            )


DEFAULT_LIMITS = MediaLimits()
