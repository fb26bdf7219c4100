"""What is known about families of encoders by their names: the prompts that they were trained with, and DPR's pairs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from sensorium.checkpoints import Checkpoint
from sensorium.checkpoints.sentence_transformers import Stored
from sensorium.errors import CheckpointError

QUERY_NAMES = ("query", "s2p_query", "search_query", "retrieval.query", "retrieval_query", "web_search_query")
"""What checkpoints call the prompt of a query that searches passages, the most certain first."""

PASSAGE_NAMES = ("passage", "document", "corpus", "search_document", "retrieval.passage", "retrieval_document")
"""What checkpoints call the prompt of a passage."""

_BGE = "Represent this sentence for searching relevant passages: "
_TASK = "Given a web search query, retrieve relevant passages that answer the query"

FAMILIES: tuple[tuple[str, str, str], ...] = (
    # A pattern that the whole name without its owner has to match, and the prompts of a query and of a passage.
    # Model card of intfloat/multilingual-e5-large-instruct: instructions for queries, none for documents.
    (r"multilingual-e5-.*-instruct", f"Instruct: {_TASK}\nQuery: ", ""),
    # Model card of intfloat/e5-mistral-7b-instruct.
    (r"e5-mistral-7b-instruct", f"Instruct: {_TASK}\nQuery: ", ""),
    # Model cards of intfloat/e5-base-v2 and intfloat/multilingual-e5-base; Wang et al. 2022, arXiv:2212.03533.
    (r"(multilingual-)?e5-(small|base|large)(-v2|-unsupervised)?", "query: ", "passage: "),
    # Model card of BAAI/bge-base-en-v1.5: an instruction for queries that search passages, none for passages.
    (r"bge-(small|base|large)-en(-v1\.5)?", _BGE, ""),
    # Model card of BAAI/bge-base-zh-v1.5.
    (r"bge-(small|base|large)-zh(-v1\.5)?", "为这个句子生成表示以用于检索相关文章：", ""),  # noqa: RUF001 - it is Chinese
    # Model card of nomic-ai/nomic-embed-text-v1.5.
    (r"nomic-embed-text-v(1|1\.5|2-moe)", "search_query: ", "search_document: "),
    # Model cards of mixedbread-ai/mxbai-embed-large-v1 and WhereIsAI/UAE-Large-V1.
    (r"mxbai-embed-large-v1|mxbai-embed-xsmall-v1|uae-large-v1", _BGE, ""),
    # Model cards of Snowflake/snowflake-arctic-embed-m and -m-v2.0.
    (r"snowflake-arctic-embed-[a-z]+(-v1\.5|-long)?", _BGE, ""),
    (r"snowflake-arctic-embed-[a-z]+-v2\.0", "query: ", ""),
)
"""The first pattern that matches counts. Families without prompts (all-*, gte-*, jina-embeddings-v2-*) need no row."""


def prompts_of(checkpoint: Checkpoint, stored: Stored) -> tuple[str, str]:
    """What goes before a query, and before a passage.

    The checkpoint's own prompts come first. Where none of them says anything, as in old checkpoints and some that were
    saved again, its name decides: the last part of a Hub id or of a folder.
    """
    if any(stored.prompts.values()):
        default = stored.prompts.get(stored.default_prompt_name or "", "")
        return tuple(_named(stored.prompts, names, default) for names in (QUERY_NAMES, PASSAGE_NAMES))  # type: ignore[return-value]
    name = (checkpoint.repo_id or str(checkpoint.root or checkpoint.folder)).rstrip("/").rpartition("/")[2].lower()
    for pattern, query, passage in FAMILIES:
        if re.fullmatch(pattern, name):
            return query, passage
    return "", ""


def question_encoder_of(checkpoint: Checkpoint) -> str | Path:
    """The name or the folder of the question encoder that was trained with one of DPR's context encoders.

    Raises:
        CheckpointError: its name does not say.
    """
    partner = _renamed(checkpoint, "ctx_encoder", "question_encoder")
    if partner is None:
        raise CheckpointError(
            f"{checkpoint.name!r} encodes DPR's passages, and its name does not say which question encoder was "
            "trained with it: expected ctx_encoder in it, as in facebook/dpr-ctx_encoder-multiset-base. Name that "
            "one with query_model=."
        )
    if isinstance(partner, Path) and not partner.is_dir():
        raise CheckpointError(
            f"{checkpoint.name!r} encodes DPR's passages, and the question encoder that was trained with it should be "
            f"in "
            f"{partner}, which does not exist. Name it with query_model=."
        )
    return partner


def refuse_question_encoder(checkpoint: Checkpoint) -> None:
    """Refuses DPR's question encoder where passages are to be encoded.

    Raises:
        CheckpointError: it is one; names the right one.
    """
    if "DPRQuestionEncoder" not in checkpoint.architectures:
        return
    right = _renamed(checkpoint, "question_encoder", "ctx_encoder")
    advice = f"name {str(right)!r}" if right is not None else "name the context encoder that was trained with it"
    raise CheckpointError(
        f"{checkpoint.name!r} encodes DPR's questions; passages are encoded by its context encoder: {advice}, and pass "
        "this one as query_model= if it is not found automatically."
    )


def _named(prompts: Mapping[str, str], names: tuple[str, ...], default: str) -> str:
    own_prompts = [prompts[name] for name in names if name in prompts]
    return (
        next(filter(None, own_prompts), "") if own_prompts else default
    )  # empty ones are added when a checkpoint is saved


def _renamed(checkpoint: Checkpoint, part: str, other: str) -> str | Path | None:
    name = checkpoint.name if checkpoint.name.startswith("starter/") else checkpoint.repo_id
    if name is not None:
        return name.replace(part, other) if part in name else None
    folder = checkpoint.folder.absolute()
    return folder.with_name(folder.name.replace(part, other)) if part in folder.name else None
