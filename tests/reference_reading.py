"""What Transformers does with a question and passages, by model and tokenizer, one question at a time."""

from __future__ import annotations

import functools

import numpy as np
import torch
import transformers


@functools.cache
def dpr(folder):
    """The reader in float32 and its tokenizer."""
    return transformers.DPRReader.from_pretrained(folder).eval(), transformers.DPRReaderTokenizer.from_pretrained(
        folder
    )


def best_spans(folder, question, passages, **options):
    """What `decode_best_spans` gives, and the characters of each span: of the text, or None where it is not all of it.

    Returns:
        A list of dicts: "span_score", "relevance_score", "passage" (from 0), "tokens", "characters".
    """
    model, tokenizer = dpr(folder)
    titles, texts = [p.get("title", "") for p in passages], [p["text"] for p in passages]
    encoded = tokenizer(questions=question, titles=titles, texts=texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        output = model(**encoded)
    rows = []
    for found in tokenizer.decode_best_spans(encoded, output, **options):
        head = len(tokenizer([question], [titles[found.doc_id]])["input_ids"][0])
        offsets = tokenizer(texts[found.doc_id], add_special_tokens=False, return_offsets_mapping=True)[
            "offset_mapping"
        ]
        inside = found.start_index >= head
        ids = encoded["input_ids"][found.doc_id, found.start_index : found.end_index + 1]
        assert found.text == tokenizer.decode(ids)
        rows.append(
            {
                "span_score": float(found.span_score),
                "relevance_score": float(found.relevance_score),
                "passage": found.doc_id,
                "tokens": [t.removeprefix("##") for t in tokenizer.convert_ids_to_tokens(ids) if t != "[SEP]"],
                "characters": (offsets[found.start_index - head][0], offsets[found.end_index - head][1])
                if inside
                else None,
            }
        )
    return rows


def text_logits(model, tokenizer, question, text):
    """Start and end logits of a text's tokens, of a model of question answering, and their characters."""
    encoded = tokenizer(question, text, return_tensors="pt", return_offsets_mapping=True)
    offsets = encoded.pop("offset_mapping")[0].tolist()
    inside = [i for i, which in enumerate(encoded.sequence_ids(0)) if which == 1]
    with torch.inference_mode():
        output = model(**encoded)
    return (
        output.start_logits[0, inside].double().numpy(),
        output.end_logits[0, inside].double().numpy(),
        [offsets[i] for i in inside],
    )


def separate(start, end, most, count):
    """The best spans of which none lies within another, `(score, first, last)`, by trying all of them in order."""
    spans = [(start[i] + end[j], i, j) for i in range(len(start)) for j in range(i, min(i + most, len(start)))]
    spans.sort(key=lambda span: -span[0])
    chosen = []
    for score, i, j in spans:
        if not any((i <= a and b <= j) or (a <= i and j <= b) for _, a, b in chosen):
            chosen.append((score, i, j))
        if len(chosen) == count:
            break
    return chosen


def log_sum(logits):
    """log Σ exp, in float64."""
    return float(np.logaddexp.reduce(np.concatenate(logits)))
