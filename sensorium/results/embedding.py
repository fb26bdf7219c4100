"""Vectors, and how alike they are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np
from numpy.typing import NDArray

from sensorium.results.columns import Array, Field, Scalar, Structs
from sensorium.results.drawing import to_rgb
from sensorium.results.kinds import ARRAY, TEXT
from sensorium.results.result import Result
from sensorium.results.saving import suffix_of, written_whole

if TYPE_CHECKING:
    import torch
    from PIL import Image


class Embedding(Result):
    """A vector for an input, or one vector for each of its tokens.

    Attributes:
        vector: float32, `(D,)` pooled, `(N, D)` tokens, or `(C, H, W)` for a network whose last state is a map;
            a NumPy array, or a torch tensor where `return_tensors="pt"` asked for one.
        feature_maps: float32 maps, `(C, H, W)` each, in the order of `out_features`; empty unless asked for.
        out_features: the names of the stages of `feature_maps`.
        index: the position of the input among the call's inputs.
    """

    __slots__ = ("feature_maps", "index", "out_features", "vector")

    columns = (
        Array("vector"),
        Structs("feature_maps", Field("name", TEXT, "out_features"), Field("map", ARRAY, "feature_maps")),
        Scalar("return_tensors", TEXT, nullable=True),
    )

    def __init__(
        self, vector: Any, feature_maps: Sequence[Any] = (), out_features: Sequence[str] = (), *, index: int = 0
    ) -> None:
        self.vector = vector
        self.feature_maps, self.out_features = tuple(feature_maps), tuple(out_features)
        self.index = index
        if len(self.feature_maps) != len(self.out_features):
            raise ValueError(f"{len(self.feature_maps)} feature maps came with {len(self.out_features)} names")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of `vector`."""
        return tuple(self.vector.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.vector, dtype=dtype, copy=copy)

    def __len__(self) -> int:
        return int(self.vector.shape[0])

    def __getitem__(self, key: Any) -> Any:
        return self.vector[key]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Embedding):
            return NotImplemented
        mine, theirs = (each.arrays() for each in (self, other))
        return mine.keys() == theirs.keys() and all(np.array_equal(mine[name], theirs[name]) for name in mine)

    __hash__ = None  # type: ignore[assignment]  # compares by value and holds arrays

    def __repr__(self) -> str:
        maps = f", feature_maps={[tuple(m.shape) for m in self.feature_maps]}" if self.feature_maps else ""
        return f"Embedding(shape={self.shape}{maps}, index={self.index})"

    def numpy(self) -> NDArray[np.float32]:
        """`vector` as a NumPy array."""
        return np.asarray(self.vector)

    def torch(self) -> torch.Tensor:
        """`vector` as a torch tensor that shares its memory."""
        import torch

        return torch.as_tensor(self.vector)

    def _held(self) -> dict[str, Any]:
        held = {name: getattr(self, name) for name in ("vector", "feature_maps", "out_features")}
        return held | {"return_tensors": None if isinstance(self.vector, np.ndarray) else "pt"}

    @classmethod
    def _made(cls, *, return_tensors: str | None = None, **held: Any) -> Self:
        if return_tensors == "pt":
            import torch

            held["vector"] = torch.from_numpy(held["vector"])
            held["feature_maps"] = [torch.from_numpy(each) for each in held["feature_maps"]]
        return cls(**held)

    def to_dict(self) -> list[Any]:
        """Nested lists with a leading axis of one, as Transformers' `image-feature-extraction` gives them."""
        return [self.numpy().tolist()]

    def records(self) -> list[dict[str, Any]]:
        """One dict with the `vector` as nested lists, and each feature map by its name."""
        arrays = self.arrays()
        return [{"vector": arrays.pop("vectors").tolist(), **{name: each.tolist() for name, each in arrays.items()}}]

    def lines(self) -> list[str]:
        """The shape and length of `vector`, for a terminal."""
        shape = " x ".join(map(str, self.shape))
        return [f"{shape} numbers, norm {float(np.linalg.norm(self.numpy())):.4g}"]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """`vector`, called `vectors` as an archive of many has it, and the feature maps by their names."""
        maps = zip(self.out_features, self.feature_maps, strict=True)
        return {"vectors": self.numpy(), **{name: np.asarray(each) for name, each in maps}}

    def plot(self, image: Any) -> Image.Image:
        """Draws the picture beside each feature map's energy (the norm over channels), or beside the tokens'.

        Raises:
            ValueError: the embedding is one pooled vector, of which nothing can be drawn on a picture.
        """
        maps = list(self.feature_maps) or ([self.vector] if self.vector.ndim == 3 else [])
        if not maps:
            raise ValueError('one pooled vector cannot be drawn; ask for maps with feature_maps=[…] or pool="none"')
        return _draw_maps(image, [np.asarray(m, dtype=np.float32) for m in maps])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes `vector` (and the maps, by name) as an uncompressed `.npz`, or `vector` alone as `.npy`.

        Raises:
            ValueError: the path ends in neither `.npz` nor `.npy`, or maps were to be saved as `.npy`.
        """
        known = (".npz",) if self.feature_maps else (".npz", ".npy")
        suffix = suffix_of(path, known, what="an embedding with maps" if self.feature_maps else "an embedding")
        with written_whole(path) as part, part.open("wb") as file:  # NumPy would add its own suffix to a name
            if suffix == ".npy":
                np.save(file, self.numpy())
                return
            maps = {name: np.asarray(m) for name, m in zip(self.out_features, self.feature_maps, strict=True)}
            np.savez(file, allow_pickle=False, vector=self.numpy(), **maps)


@overload
def similarity(a: Embedding, b: Embedding) -> float: ...
@overload
def similarity(
    a: Embedding | Sequence[Embedding], b: Embedding | Sequence[Embedding]
) -> float | NDArray[np.float32]: ...
def similarity(a: Any, b: Any) -> Any:
    """The cosine of the angle between pooled embeddings, in [-1, 1].

    Args:
        a: an embedding with a `(D,)` vector, or a sequence of M of them.
        b: the same, of N.

    Returns:
        A float for two embeddings; `(N,)`, `(M,)` or `(M, N)` float32 where one or both are sequences.

    Raises:
        ValueError: an embedding is not pooled, or their widths differ.
    """
    left, right = _unit_rows(a), _unit_rows(b)
    if left.shape[-1] != right.shape[-1]:
        raise ValueError(f"embeddings of one width are expected, got {left.shape[-1]} and {right.shape[-1]}")
    cosine = np.clip(left @ right.T, -1.0, 1.0)
    return float(cosine) if cosine.ndim == 0 else cosine


def _unit_rows(embeddings: Any) -> NDArray[np.float32]:
    single = isinstance(embeddings, Embedding) or hasattr(embeddings, "ndim")
    rows = np.asarray(embeddings if single else [np.asarray(e) for e in embeddings], dtype=np.float32)
    if rows.ndim != (1 if isinstance(embeddings, Embedding) else max(1, min(rows.ndim, 2))):
        raise ValueError(f'pooled vectors are expected, got the shape {rows.shape}; pass pool="mean" or "cls"')
    norm = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.maximum(norm, np.finfo(np.float32).tiny), dtype=np.float32)


def _draw_maps(image: Any, maps: Sequence[NDArray[np.float32]]) -> Image.Image:
    from PIL import Image

    rgb = to_rgb(image)
    canvas = Image.new("RGB", (rgb.width * (1 + len(maps)), rgb.height), "white")
    canvas.paste(rgb, (0, 0))
    for i, feature_map in enumerate(maps):
        energy = np.linalg.norm(feature_map, axis=0)
        span = float(np.ptp(energy)) or 1.0
        grey = Image.fromarray(np.uint8(255 * (energy - energy.min()) / span))
        canvas.paste(grey.resize(rgb.size, Image.Resampling.BICUBIC), (rgb.width * (1 + i), 0))
    return canvas
