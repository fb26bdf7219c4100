"""Which format a picture has, by its first bytes; formats that are not read are named."""

from __future__ import annotations

import importlib
import struct
from typing import IO

from PIL import Image

from sensorium.errors import InputError, LimitError, OptionError
from sensorium.processors.limits import MediaLimits

_HEIC = frozenset([b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs"])
_AVIF = frozenset([b"avif", b"avis"])
_CONTAINERS = frozenset([b"mif1", b"msf1", b"mif2"])  # whose brand does not tell what is in them
_UNREAD = (  # pictures that Pillow has no decoder for: (offset, bytes), name, how to read them
    (0, b"\xff\x0a", "JPEG XL", "Convert it to JPEG or PNG"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL", "Convert it to JPEG or PNG"),
    (8, b"CR\x02\0", "a raw photograph (CR2)", "Develop it, as with rawpy, and pass the array"),
    (4, b"ftypcrx ", "a raw photograph (CR3)", "Develop it, as with rawpy, and pass the array"),
    (0, b"FUJIFILMCCD-RAW", "a raw photograph (RAF)", "Develop it, as with rawpy, and pass the array"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR", "Read it with OpenCV or OpenEXR, bring it to [0, 1], and pass the array"),
    (0, b"#?RADIANCE", "Radiance HDR", "Read it with OpenCV, bring it to [0, 1], and pass the array"),
    (128, b"DICM", "DICOM", "Read it with pydicom, bring it to [0, 1] by its window, and pass the array"),
    (0, b"<svg", "SVG", "Draw it at the size that you need, as with cairosvg"),
)
_OTHER = (  # no pictures
    (0, b"%PDF", "a PDF", "Extract or draw its pages, as with pypdfium2"),
    (4, b"ftyp", "a film (MP4, MOV)", "Extract its frames"),
    (0, b"\x1a\x45\xdf\xa3", "a film (WebM, Matroska)", "Extract its frames"),
    (0, b"PK\x03\x04", "a ZIP archive", "Unpack it"),
    (0, b"\x1f\x8b", "a gzip archive", "Unpack it"),
)


def sniff(stream: IO[bytes], *, name: str, limits: MediaLimits) -> str:
    """Tell a picture's format, by Pillow's name.

    Raises:
        InputError: `not-a-picture`; `unsupported-format`, a picture that nothing here decodes.
        LimitError: `format-not-allowed`, a format outside `MediaLimits.formats`.
    """
    stream.seek(0)
    head = stream.read(256)
    prefix = head[:16]
    Image.preinit()
    is_heic = _is_heic(head)
    if is_heic and "HEIF" in limits.formats:
        return _with_heif(name)
    kind = next((kind for kind in limits.formats if not is_heic and _accepts(kind, prefix)), None)
    if kind is not None and not (kind == "TIFF" and head[8:10] == b"CR"):
        return kind
    if kind is None and (other := "HEIF" if is_heic else _disallowed(head)):
        raise LimitError(
            f"{name}: expected one of {', '.join(limits.formats)}, got what begins like {other}. Convert it, "
            f"or add {other!r} to MediaLimits.formats if you trust it.",
            code="format-not-allowed",
            source=name,
        )
    raise _unknown(head, name=name, limits=limits)


def _unknown(head: bytes, *, name: str, limits: MediaLimits) -> InputError:
    expected = f"{name}: expected a picture ({', '.join(limits.formats)})"
    for table, code in ((_UNREAD, "unsupported-format"), (_OTHER, "not-a-picture")):
        for at, mark, called, advice in table:
            if head[at : at + len(mark)] == mark:
                return InputError(f"{expected}, got {called}. {advice}.", code=code, source=name)
    return InputError(
        f"{expected}, got something that starts with {head[:16]!r}. Check that the file is what its name says.",
        code="not-a-picture",
        source=name,
    )


def _disallowed(head: bytes) -> str | None:
    """The format that Pillow could read, but the limits do not allow."""
    Image.init()
    if _is_tga(head):
        return "TGA"
    # a plugin without an accept function takes anything, so it tells nothing
    plugins = ((kind, accept) for kind, (_, accept) in Image.OPEN.items() if accept)
    return next((kind for kind, _ in plugins if _accepts(kind, head[:16])), None)


def _accepts(kind: str, prefix: bytes) -> bool:
    if kind not in Image.OPEN:
        Image.init()
    if kind not in Image.OPEN:
        if kind == "HEIF":  # a package of its own brings it
            return False
        known = ", ".join(sorted(Image.OPEN))
        raise OptionError(f"MediaLimits.formats: expected names of Pillow's formats ({known}), got {kind!r}.")
    accept = Image.OPEN[kind][1]
    try:  # a str is Pillow's word for "I know this one, but was built without its library"
        return accept is None or accept(prefix) is True
    except (EOFError, IndexError, struct.error):  # fewer bytes than the plugin looks at
        return False


def _is_heic(head: bytes) -> bool:
    if head[4:8] != b"ftyp":
        return False
    size = min(int.from_bytes(head[:4], "big"), len(head))
    brand, brands = head[8:12], {head[at : at + 4] for at in range(16, size - 3, 4)}
    return brand in _HEIC or (brand in _CONTAINERS and bool(brands & _HEIC) and not brands & _AVIF)


def _with_heif(name: str) -> str:
    """Makes Pillow read HEIC, where that is installed."""
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError as error:
        raise InputError(
            f"{name}: this is an HEIC picture, as phones take them, which needs pillow-heif: pip install "
            f"'sensorium[heif]'. Or convert it to JPEG.",
            code="unsupported-format",
            source=name,
        ) from error
    return "HEIF"


def _is_tga(head: bytes) -> bool:
    """Whether this is a TGA, which has no mark, and begins as a CUR does; a CUR tells how many pictures it holds."""
    if len(head) < 18 or head[1] > 1 or head[2] not in (1, 2, 3, 9, 10, 11) or head[16] not in (8, 15, 16, 24, 32):
        return False
    colours, width, height = (int.from_bytes(head[at : at + 2], "little") for at in (5, 12, 14))
    return width > 0 and height > 0 and (colours > 0) == (head[1] == 1) and head[4:6] != b"\x01\0"
