"""Pictures and questions as a call gives them → single questions, each about one picture that is prepared once."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sensorium.errors import InputError
from sensorium.processors.media import is_batch, split_batch
from sensorium.processors.multimodal import FittedImage

MOST_BYTES = 256 * 2**20
"""How much of fitted pictures a call keeps for questions that come later."""


class Question(dict[str, Any]):
    """An input of `image` and `question` whose picture other inputs of the call may share.

    Attributes:
        shared: the call's pictures.
    """

    shared: SharedImages

    @classmethod
    def sharing(cls, pairs: Sequence[Any]) -> list[Any]:
        """The inputs of a call, joined by the pictures that several of them name."""
        shared = SharedImages(pair.get("image") for pair in pairs if isinstance(pair, Mapping))
        asked: list[Any] = []
        for pair in pairs:
            if not isinstance(pair, Mapping):
                asked.append(pair)  # refused when its turn comes, and not before
                continue
            question = cls(pair)
            question.shared = shared
            asked.append(question)
        return asked


def products(image: Any, question: Any) -> Any:
    """What a call with these inputs asks: one question, or every question about every picture.

    Args:
        image: one picture, or several as a list, a tuple or a 4-D array.
        question: one question, or a list or tuple of them.

    Returns:
        A mapping, or where one of them is several, a list of them: all pictures for the first question come first.
    """
    images = split_batch(image) if is_batch(image) else [image]
    questions = list(question) if isinstance(question, (list, tuple)) else [question]
    pairs = [{"image": image, "question": text} for text in questions for image in images]
    several = is_batch(image) or isinstance(question, (list, tuple))
    return Question.sharing(pairs) if several else pairs[0]


def image_and_question(raw: Any) -> tuple[Any, str]:
    """The two parts of an input.

    Raises:
        InputError: `no-image`, `no-question`, `not-text` or `empty-text`.
    """
    if not isinstance(raw, Mapping):
        raise InputError(
            'expected a picture and a question, as {"image": …, "question": "…"}, got no question'
            f" (a {type(raw).__name__})",
            code="no-question",
        )
    if raw.get("image") is None:
        raise InputError("expected a picture with the question; 'image' is missing", code="no-image")
    question = raw.get("question")
    if question is None:
        raise InputError("expected a question about the picture; 'question' is missing", code="no-question")
    if not isinstance(question, str):
        raise InputError(f"a question is a text (str), got {type(question).__name__}", code="not-text")
    if not question.strip():
        raise InputError("the question is empty", code="empty-text")
    return raw["image"], question


class SharedImages:
    """The pictures of one call that several of its inputs name, each decoded and fitted once, if room allows.

    Safe in several threads. A picture is dropped after its last question.

    Args:
        sources: the picture of each input.
    """

    def __init__(self, sources: Iterable[Any]) -> None:
        self._left = Counter(_identity(source) for source in sources if source is not None)
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def fitted(self, source: Any, fit: Callable[[Any], FittedImage]) -> FittedImage:
        """What `fit` makes of the picture, now or for an earlier question."""
        name = _identity(source)
        with self._lock:
            self._left[name] -= 1
            last = self._left[name] <= 0
            kept = self._kept.pop(name, None) if last else self._kept.setdefault(name, _Kept(source))
        if kept is None:
            return fit(source)
        with kept.lock:
            if kept.image is None:
                kept.image = fit(source)  # what cannot be read is tried again, for an error of its own
            image = kept.image
        self._make_room()
        return image

    def _make_room(self) -> None:
        with self._lock:
            sizes = {name: kept.image.nbytes for name, kept in self._kept.items() if kept.image is not None}
            total = sum(sizes.values())
            for name, size in sizes.items():
                if total <= MOST_BYTES:
                    return
                del self._kept[name]
                total -= size


@dataclass
class _Kept:
    source: Any  # held, so that its identity is not given to another object
    image: FittedImage | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


def _identity(source: Any) -> Hashable:
    return (type(source).__name__, str(source)) if isinstance(source, (str, Path)) else id(source)
