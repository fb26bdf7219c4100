"""Pictures that are not read say what they are; HEIC is read where its package is installed; closed PIL images."""

from __future__ import annotations

import io
import struct
import sys
import types

import numpy as np
import pytest
from PIL import Image, ImageFile

from sensorium.errors import InputError
from sensorium.processors.limits import MediaLimits
from sensorium.processors.media import load_image, load_pil
from tests.media import jpeg, make_image

HEICS = [
    b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    b"\0\0\0\x18ftypheix\0\0\0\0mif1heix",
    b"\0\0\0\x1cftypmif1\0\0\0\0mif1heichevc",
    b"\0\0\0\x18ftypmsf1\0\0\0\0hevcmsf1",
]


def fault(source, **limits):
    with pytest.raises(InputError) as caught:
        load_image(source, limits=MediaLimits(**limits))
    return caught.value


def encoded(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def tiff(array, sample_format):
    """A TIFF of any kind of samples, little endian, in one strip."""
    height, width, channels = array.shape
    data, extra, entries = array.tobytes(), b"", b""
    base = 8 + 2 + 12 * 10 + 4

    def shorts(value):
        nonlocal extra
        packed = struct.pack(f"<{channels}H", *[value] * channels)
        if len(packed) <= 4:
            return packed.ljust(4, b"\0")
        extra += packed
        return struct.pack("<I", base + len(extra) - len(packed))

    bits, formats = shorts(array.dtype.itemsize * 8), shorts(sample_format)
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, channels, bits), (259, 3, 1, 1)]
    tags += [(262, 3, 1, 2 if channels >= 3 else 1), (273, 4, 1, base + len(extra)), (277, 3, 1, channels)]
    tags += [(278, 4, 1, height), (279, 4, 1, len(data)), (339, 3, channels, formats)]
    for tag, kind, count, value in tags:
        entries += struct.pack("<HHI", tag, kind, count) + (
            value if isinstance(value, bytes) else struct.pack("<I", value)
        )
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + extra + data


@pytest.mark.parametrize("head", HEICS)
def test_heic_is_named_where_its_package_is_missing(head, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # what makes Python raise ImportError
    error = fault(head + bytes(300))
    assert error.code == "unsupported-format"
    assert "HEIC" in str(error)
    assert "pillow-heif" in str(error) or "sensorium[heif]" in str(error)
    assert fault(head + bytes(300), formats=("JPEG",)).code == "format-not-allowed"


def test_an_avif_in_the_same_container_is_none():
    assert fault(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf" + bytes(300)).code == "corrupt"


def test_heic_is_read_where_its_package_is_installed(monkeypatch):
    """A stand-in with the package's one function: the real one is no dependency of the tests."""

    class Opened(ImageFile.ImageFile):
        format = "HEIF"

        def _open(self):
            self._size, self._mode = (17, 13), "RGB"

        def load(self):
            self.im = Image.new("RGB", self.size, (10, 200, 30)).im
            return self.im.pixel_access(False)

    package = types.ModuleType("pillow_heif")
    package.register_heif_opener = lambda: Image.register_open("HEIF", Opened, lambda prefix: prefix[4:8] == b"ftyp")
    monkeypatch.setitem(sys.modules, "pillow_heif", package)
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    for head in HEICS:
        pixels = load_image(head + bytes(300))
        assert pixels.shape == (3, 13, 17)
        assert pixels[:, 0, 0].tolist() == [10, 200, 30]
    assert fault(HEICS[0] + bytes(300), max_pixels=100).code == "too-many-pixels"


def test_real_heic():
    pytest.importorskip("pillow_heif").register_heif_opener()
    heic = encoded(make_image(64, 48), "HEIF", quality=100)
    assert np.array_equal(load_pil(heic), Image.open(io.BytesIO(heic)).convert("RGB"))
    assert np.abs(np.asarray(load_pil(heic), int) - np.asarray(make_image(64, 48))).mean() < 20  # lossy


NAMED = {
    "JPEG XL": (b"\xff\x0a" + bytes(50), "unsupported-format"),
    "JPEG XL ": (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(50), "unsupported-format"),
    "CR2": (b"II*\0\x10\0\0\0CR\2\0" + bytes(50), "unsupported-format"),
    "DICOM": (bytes(128) + b"DICM" + bytes(50), "unsupported-format"),
    "OpenEXR": (b"\x76\x2f\x31\x01" + bytes(50), "unsupported-format"),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported-format"),
    "PDF": (b"%PDF-1.7\n", "not-a-picture"),
    "film": (b"\0\0\0\x1cftypisom" + bytes(50), "not-a-picture"),
    "ZIP": (b"PK\x03\x04" + bytes(50), "not-a-picture"),
}


@pytest.mark.parametrize("name", NAMED)
def test_what_is_not_read_is_named(name):
    data, code = NAMED[name]
    error = fault(data)
    assert error.code == code
    assert name.strip() in str(error)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
@pytest.mark.parametrize("compression", [None, "tga_rle"])
def test_a_tga_is_no_cursor(mode, compression):
    data = encoded(make_image().convert(mode), "TGA", compression=compression)
    error = fault(data)
    assert error.code == "format-not-allowed"
    assert "TGA" in str(error)
    assert "CUR" not in str(error)
    expected = load_image(make_image().convert(mode))
    assert np.array_equal(load_image(data, limits=MediaLimits(formats=("TGA",))), expected)


def test_a_cursor_is_no_tga():
    icon = encoded(make_image(32, 32), "ICO")
    assert "CUR" in str(fault(b"\0\0\2\0" + icon[4:]))
    assert "ICO" in str(fault(icon))


@pytest.mark.parametrize(
    ("dtype", "channels", "sample_format"), [("f4", 3, 3), ("f2", 1, 3), ("f8", 1, 3), ("f4", 4, 3), ("u1", 5, 1)]
)
def test_a_tiff_of_samples_that_pillow_does_not_read_is_not_called_damaged(dtype, channels, sample_format):
    error = fault(tiff(np.zeros((6, 8, channels), dtype), sample_format))
    assert error.code == "unsupported-format"
    assert "TIFF" in str(error)
    assert "damaged" not in str(error)
    assert "tifffile" in str(error)


def test_a_tiff_of_one_channel_in_floating_point_is_read():
    values = np.random.default_rng(0).random((6, 8)).astype(np.float32)
    assert np.array_equal(load_image(tiff(values[..., None], 3))[0], np.rint(values * 255))


def closed_ones():
    direct = make_image()
    direct.close()
    loaded = Image.open(io.BytesIO(jpeg()))
    loaded.load()
    loaded.close()
    with Image.open(io.BytesIO(jpeg())) as left:
        pass
    file = io.BytesIO(jpeg())
    behind = Image.open(file)
    file.close()
    return {"made": direct, "loaded": loaded, "left its with": left, "its file is closed": behind}


@pytest.mark.parametrize("name", closed_ones())
def test_a_closed_pil_image_is_told_from_a_damaged_one(name):
    image = closed_ones()[name]
    for load in (load_image, load_pil):
        with pytest.raises(InputError, match=r"closed.*image\.load\(\)") as caught:
            load(image)
        assert caught.value.code == "unreadable-file"


def test_a_damaged_pil_image_is_not_called_closed():
    data = encoded(make_image(200, 200), "PNG")
    assert fault(Image.open(io.BytesIO(data[: len(data) // 2]))).code == "truncated"


def test_colours_are_red_green_and_blue():
    red = np.zeros((6, 8, 3), np.uint8)
    red[..., 0] = 255
    for source in (red, red.transpose(2, 0, 1), Image.fromarray(red), encoded(Image.fromarray(red), "PNG")):
        assert load_image(source)[:, 0, 0].tolist() == [255, 0, 0]
