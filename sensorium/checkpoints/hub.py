"""The boundary to the Hub: fetching files through huggingface_hub, and its exceptions in our words."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sensorium.checkpoints.options import LoadOptions
from sensorium.errors import CheckpointNotFoundError, DownloadError, SensoriumError

GO_ON = " To go on without it: name a local folder, or 'starter/…' for a small checkpoint of the package."

# fnmatch's * matches a slash too, so subfolders are refused by name: no onnx/, no weights of other frameworks.
_TEXT_FILES = ["*.json", "*.jinja", "*.model", "*.spm", "*.bpe", "*.codes", "*.txt"]
_NOT_NEEDED = ["*/*", "*.bin.index.json", "*.h5.index.json", "*.msgpack.index.json"]
_RECORDS = ["trainer_state.json", "*_results.json", "requirements*.txt", "LICENSE*", "README*"]


def fetch(repo_id: str, revision: str | None, options: LoadOptions, *, allow: Sequence[str] | None = None) -> Path:
    """Bring files of a repository into the cache, continuing where a broken connection left off.

    Args:
        repo_id: `org/name` or `name`.
        revision: a branch, tag or commit; None for `main`.
        options: `token`, `cache_dir` and `local_files_only` are used, and `trust_remote_code`, which adds `*.py`.
        allow: plain file names; None for the configuration and tokenizer files.

    Returns:
        The snapshot folder, whose name is the 40-hex commit.

    Raises:
        CheckpointNotFoundError: no such repository or revision.
        DownloadError: the Hub could not be reached, or refused.
    """
    from huggingface_hub import snapshot_download

    code = ["*.py"] if options.trust_remote_code else []
    try:
        return Path(
            snapshot_download(
                repo_id,
                revision=revision,
                token=options.token,
                cache_dir=options.cache_dir,
                local_files_only=options.local_files_only,
                allow_patterns=list(allow) if allow is not None else _TEXT_FILES + code,
                ignore_patterns=None if allow is not None else _NOT_NEEDED + _RECORDS,
                library_name="sensorium",
            )
        )
    except _library_errors() as error:
        raise _in_our_words(error, repo_id, revision, options) from error


def list_files(repo_id: str, revision: str | None, options: LoadOptions) -> set[str]:
    """The names of the files at the top of a repository.

    Raises:
        CheckpointNotFoundError: no such repository or revision.
        DownloadError: the Hub could not be reached, or refused, or must not be asked.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import OfflineModeIsEnabled
    from huggingface_hub.hf_api import RepoFile

    try:
        if options.local_files_only:
            raise OfflineModeIsEnabled("local_files_only=True")
        api = HfApi(token=options.token, library_name="sensorium")
        entries = api.list_repo_tree(repo_id, revision=revision)
        return {entry.path for entry in entries if isinstance(entry, RepoFile)}
    except _library_errors() as error:
        raise _in_our_words(error, repo_id, revision, options) from error


def nearest(name: str, known: Iterable[str] = ()) -> str:
    """`"Did you mean …? "` if a known name, or a model folder beside the one named, is close; else an empty text."""
    path = Path(name)
    beside: list[str] = []
    with contextlib.suppress(OSError, RuntimeError, ValueError):
        beside = [str(one) for one in path.expanduser().parent.iterdir() if (one / "config.json").is_file()]
    near = difflib.get_close_matches(str(path), [*known, *beside], n=1)
    return f"Did you mean {near[0]!r}? " if near and near[0] != str(path) else ""


def _library_errors() -> tuple[type[Exception], ...]:
    """What huggingface_hub raises: its own errors, those of its HTTP client, and those of the disk."""
    from huggingface_hub import errors

    client: Any = getattr(errors, "HTTPError", OSError)  # httpx's or httpx2's, by its version
    xet: Any = getattr(errors, "XetDownloadError", OSError)
    return (OSError, errors.HFValidationError, client, xet, RuntimeError)


def _in_our_words(error: Exception, repo_id: str, revision: str | None, options: LoadOptions) -> SensoriumError:
    from huggingface_hub import constants, errors

    where = f"{constants.ENDPOINT}/{repo_id}"
    hint = nearest(repo_id, _cached(options))
    if isinstance(error, errors.GatedRepoError):
        return DownloadError(
            f"{repo_id!r} is gated: the Hub gives it only to accounts that accepted its terms, and answered "
            f"{error.response.status_code}. "
            f"Accept them at {where}, then run `hf auth login` or pass token=….{GO_ON}"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        tag = "timm's names end in a tag, as timm/resnet50.a1_in1k does. " if repo_id.startswith("timm/") else ""
        return CheckpointNotFoundError(
            f"no repository {repo_id!r} at {constants.ENDPOINT}, or it is private. {hint}{tag}Check the name "
            f"(org/name); if it is private, run `hf auth login` or pass token=….{GO_ON}"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return CheckpointNotFoundError(
            f"the repository {repo_id!r} has no revision {revision!r}. Name a branch, a tag or a full commit; they "
            f"are listed at {where}/tree/main."
        )
    if isinstance(error, errors.HFValidationError):
        return CheckpointNotFoundError(
            f"{repo_id!r} is neither a local folder nor a name that the Hub can have. {hint}Expected "
            f"'org/name', 'org/name@revision', 'starter/…' or a folder."
        )
    return _refused_or_unreachable(error, repo_id, options)


def _refused_or_unreachable(error: Exception, repo_id: str, options: LoadOptions) -> DownloadError:
    from huggingface_hub import constants, errors

    cause = error if isinstance(error, errors.HfHubHTTPError) else error.__cause__
    status = cause.response.status_code if isinstance(cause, errors.HfHubHTTPError) else None
    if status in (401, 403) or isinstance(error, errors.LocalTokenNotFoundError):
        return DownloadError(
            f"the Hub refused {repo_id!r} ({status or _short(error)}): the token is wrong, or has no right to read it. "
            f"Run `hf auth login`, or pass a token=… that may.{GO_ON}"
        )
    if options.local_files_only or constants.HF_HUB_OFFLINE:
        switch = "local_files_only=True" if options.local_files_only else "HF_HUB_OFFLINE=1"
        return DownloadError(
            f"{repo_id!r} is not wholly in the cache ({options.cache_dir or constants.HF_HUB_CACHE}), and {switch} "
            f"forbids to download it. {nearest(repo_id, _cached(options))}Run once without {switch}.{GO_ON}"
        )
    return DownloadError(
        f"could not download {repo_id!r} from {constants.ENDPOINT}: {_short(error.__cause__ or error)}. Check the "
        f"connection (HF_ENDPOINT names a mirror) and try again; if the files are cached, HF_HUB_OFFLINE=1 uses them "
        f"unasked.{GO_ON}"
    )


def _cached(options: LoadOptions) -> list[str]:
    """The repositories in the cache."""
    from huggingface_hub import constants

    folder = Path(options.cache_dir or constants.HF_HUB_CACHE).expanduser()
    return [one.name.removeprefix("models--").replace("--", "/") for one in folder.glob("models--*")]


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if len(text) <= 300 else f"{type(error).__name__}: {text[:297]}…"
