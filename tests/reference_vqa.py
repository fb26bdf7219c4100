"""What the pipeline of Transformers 4.57 did with a picture and a question, by model and processor, one at a time."""

from __future__ import annotations

import functools

import torch
import transformers


@functools.cache
def loaded(folder):
    """The model in float32 and its processor."""
    kind = transformers.AutoConfig.from_pretrained(folder).model_type
    auto = {
        "vilt": transformers.AutoModelForVisualQuestionAnswering,
        "blip": transformers.AutoModelForVisualQuestionAnswering,
    }.get(kind, transformers.AutoModelForImageTextToText)
    return auto.from_pretrained(folder).eval(), transformers.AutoProcessor.from_pretrained(folder), kind


def answer(folder, image, question, *, top_k=5, truncation=False, **generate):
    """`[{"score", "answer"}, …]` from a model that chooses, `[{"answer"}]` from one that writes."""
    model, processor, kind = loaded(folder)
    with torch.inference_mode():
        if kind == "vilt":
            return _chosen(model, processor, image, question, top_k, truncation)
        if kind == "blip":
            return _written(model, processor, image, question, truncation, generate)
        return _chatted(model, processor, image, question, generate)


def _chosen(model, processor, image, question, top_k, truncation):
    inputs = processor.tokenizer(question, return_tensors="pt", truncation=truncation)
    inputs.update(processor.image_processor(images=image, return_tensors="pt"))
    probabilities = model(**inputs).logits.sigmoid()[0]
    scores, ids = probabilities.topk(min(top_k, model.config.num_labels))
    pairs = zip(scores.tolist(), ids.tolist(), strict=True)
    return [{"score": score, "answer": model.config.id2label[i]} for score, i in pairs]


def _written(model, processor, image, question, truncation, generate):
    inputs = processor.tokenizer(question, return_tensors="pt", truncation=truncation, return_token_type_ids=False)
    inputs.update(processor.image_processor(images=image, return_tensors="pt"))
    written = model.generate(**inputs, **{"max_new_tokens": 256, **generate})
    return [{"answer": processor.tokenizer.decode(written[0], skip_special_tokens=True).strip()}]


def _chatted(model, processor, image, question, generate):
    content = [{"type": "image", "image": image}, {"type": "text", "text": question}]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    written = model.generate(**inputs, **{"max_new_tokens": 256, **generate})
    new = written[0, inputs["input_ids"].shape[1] :]
    return [{"answer": processor.tokenizer.decode(new, skip_special_tokens=True).strip()}]
