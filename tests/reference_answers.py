"""How Transformers 4.57's question-answering pipeline answers, written anew from its formulas: one window at a time."""

from __future__ import annotations

import numpy as np
import torch


def answers(
    model,
    tokenizer,
    question,
    context,
    *,
    top_k=1,
    doc_stride=None,
    max_answer_len=15,
    max_seq_len=None,
    handle_impossible_answer=False,
    align_to_words=True,
    batch_size=1,
):
    """The answers as 4.57 gives them: a dict, or a list where there are several.

    `batch_size` runs so many windows at once, padded to the longest; the pipeline's default is 1.
    """
    length = max_seq_len or min(tokenizer.model_max_length, 384)
    encoded = tokenizer(
        question,
        context,
        truncation="only_second",
        max_length=length,
        stride=min(length // 2, 128) if doc_stride is None else doc_stride,
        return_overflowing_tokens=True,
        return_token_type_ids=True,
        return_attention_mask=True,
        padding=batch_size > 1,
    )
    candidates, nothing = [], []
    count = len(encoded["input_ids"])
    for first in range(0, count, batch_size):
        rows = range(first, min(first + batch_size, count))
        inputs = {name: torch.tensor([encoded[name][i] for i in rows]) for name in tokenizer.model_input_names}
        with torch.inference_mode():
            output = model(**inputs)
        for i, start, end in zip(rows, output.start_logits.float(), output.end_logits.float(), strict=True):
            ids = np.array(encoded["input_ids"][i])
            mask = np.array([s == 1 for s in encoded.sequence_ids(i)]) | (ids == tokenizer.cls_token_id)
            mask &= np.array(encoded["attention_mask"][i]) == 1
            spans, null = _spans(start.numpy(), end.numpy(), mask, 2 * top_k + 10 if align_to_words else top_k,
                                 max_answer_len)  # fmt: skip
            nothing.append(null)
            candidates += [(*_characters(encoded.encodings[i], s, e, align_to_words), p) for s, e, p in spans]
    return _merged(context, candidates, min(nothing) if handle_impossible_answer else None, top_k)


def _spans(start, end, mask, most, max_answer_len):
    start, end = (_softmax(np.where(mask, logits, np.float32(-10000))) for logits in (start, end))
    null = float(start[0] * end[0])
    start[0] = end[0] = 0
    scores = np.tril(np.triu(np.outer(start, end)), max_answer_len - 1)
    found = []
    for place in np.argsort(-scores, axis=None, kind="stable")[:most]:
        s, e = np.unravel_index(place, scores.shape)
        # 4.57 pads with spans of score 0, also such that end before they start
        if mask[s] and mask[e] and scores[s, e] > 0:
            found.append((int(s), int(e), float(scores[s, e])))
    return found, null


def _characters(encoding, s, e, align_to_words):
    words = encoding.word_ids[s], encoding.word_ids[e]
    if align_to_words and None not in words:
        return encoding.word_to_chars(words[0], 1)[0], encoding.word_to_chars(words[1], 1)[1]
    return encoding.offsets[s][0], encoding.offsets[e][1]


def _merged(context, candidates, nothing, top_k):
    rows = []
    for start, end, score in candidates:
        answer = context[start:end]
        same = next((row for row in rows if row["answer"].lower() == answer.lower()), None)
        if same is None:
            rows.append({"score": score, "start": start, "end": end, "answer": answer})
        else:
            same["score"] += score
    if nothing is not None:
        rows.append({"score": nothing, "start": 0, "end": 0, "answer": ""})
    rows = sorted(rows, key=lambda row: row["score"], reverse=True)[:top_k]
    return rows[0] if len(rows) == 1 else rows


def _softmax(logits):
    found = np.exp(logits - logits.max())
    return found / found.sum()
