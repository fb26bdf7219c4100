"""Files that results are saved as: each result knows its suffixes and refuses others; they are written whole."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

_IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")


def suffix_of(path: str | os.PathLike[str], known: Sequence[str], *, what: str) -> str:
    """The suffix of a path, in lower case.

    Args:
        path: where a result is to be saved.
        known: the suffixes that it is saved as.
        what: the result, for the error.

    Raises:
        ValueError: another suffix, or none.
    """
    name = Path(path).name
    suffix = Path(path).suffix.lower()
    if suffix not in known:
        drawn = " To draw it, call plot(image).save(path)." if suffix in _IMAGES else ""
        choices = (" or " if len(known) == 2 else ", ").join(known)
        raise ValueError(f"{what} is saved as {choices}, got {name!r}.{drawn}")
    return suffix


@contextlib.contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A place to write a file, which becomes that at `path` once it is whole; what was there before stays until then.

    It lies beside the file, and is called as that is, with `.part` behind. What a process that was killed has left
    there is written over by the next that writes the same file; several that do so wait for each other.

    Args:
        path: the file. Of a link, what it leads to is replaced; what is no file, such as a pipe, is written itself.

    Raises:
        OSError: it cannot be written.
    """
    target, part = _places(path)
    if part is None:
        yield target
        return
    with _alone_at(part, target):
        try:
            yield part
            if target.exists():
                shutil.copymode(target, part)
            part.replace(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def write_png(path: str | os.PathLike[str], levels: NDArray[Any]) -> None:
    """Writes a map as a grey PNG, of 8 bits where they hold its numbers, else of 16.

    Args:
        path: the file, written whole.
        levels: `(H, W)` whole numbers from 0 to 65,535.
    """
    import numpy as np
    from PIL import Image

    small = not levels.size or levels.max() <= np.iinfo(np.uint8).max
    with written_whole(path) as part:
        Image.fromarray(levels.astype(np.uint8 if small else np.uint16)).save(part, "PNG")


def check_place(path: str | os.PathLike[str]) -> None:
    """Refuses a file that `written_whole` could not write, and leaves nothing there.

    Raises:
        OSError: it could not be written.
    """
    target, part = _places(path)
    if part is not None:
        with _alone_at(part, target):
            part.touch()
            part.unlink()


def _places(path: str | os.PathLike[str]) -> tuple[Path, Path | None]:
    """The file itself, and where it lies until it is whole; None for what is no file."""
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        return target, None
    return target, target.with_name(f"{target.name}.part")


@contextlib.contextmanager
def _alone_at(part: Path, target: Path) -> Iterator[None]:
    """Waits until nobody else writes a file under its passing name; the kernel lets it go with the process."""
    try:
        import fcntl
    except ImportError:  # Windows, where a file that is open cannot be replaced
        yield
        return
    while True:
        try:
            descriptor = os.open(part, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(target)) from error
        try:
            with contextlib.suppress(OSError):  # no locks there
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_at(part, descriptor):  # or whoever was before has given it its own name
                yield
                return
        finally:
            os.close(descriptor)


def _is_at(part: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(part.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
