"""Masks that nobody looks into: the same results, and no question to the device."""

from __future__ import annotations

import functools
import threading

import pytest
import torch
import transformers

from sensorium.models import attention_masks
from sensorium.models.attention_masks import unread_masks

META = torch.device("meta")
ROUNDING = 1e-6  # float32, where another of torch's kernels attends


@functools.cache
def loaded(kind, attention):
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    named = {"clip_text_model": {"eos_token_id": 0}}.get(kind, {})
    config = transformers.AutoConfig.for_model(kind, **small, **named, vocab_size=50, attn_implementation=attention)
    torch.manual_seed(0)
    return transformers.AutoModel.from_config(config).eval()


@pytest.fixture(params=[("bert", "sdpa"), ("bert", "eager"), ("clip_text_model", "sdpa"), ("llama", "sdpa")])
def model(request):
    return loaded(*request.param)


def inputs(padded):
    torch.manual_seed(1)
    mask = torch.ones((3, 9), dtype=torch.int64)
    if padded:
        mask[0, 5:] = mask[2, 7:] = 0
    return {"input_ids": torch.randint(1, 50, (3, 9)), "attention_mask": mask}


@pytest.mark.parametrize("padded", [False, True])
def test_results_stay_whether_masks_are_read_or_not(model, padded):
    batch = inputs(padded)
    real = batch["attention_mask"].bool()
    attention_masks._watch()
    with torch.no_grad():
        want = model(**batch).last_hidden_state[real]
        for full in (False, True) if not padded else (False,):
            with attention_masks._Unread(full):
                got = model(**batch).last_hidden_state[real]
            torch.testing.assert_close(got, want, atol=ROUNDING, rtol=ROUNDING)


@pytest.mark.parametrize("full", [False, True])
def test_a_device_is_asked_for_nothing(full):
    batch = {name: tensor.to(META) for name, tensor in inputs(padded=True).items()}
    model = loaded("bert", "sdpa")
    on_meta = type(model)(model.config).to(META).eval()
    with torch.no_grad():
        with unread_masks(META, full=full):
            assert on_meta(**batch).last_hidden_state.shape == (3, 9, 16)
        with pytest.raises(RuntimeError, match="meta"):  # outside it asks, as ever
            on_meta(**batch)


def test_masks_that_are_known_to_be_full_are_left_out():
    made = []
    make = transformers.masking_utils.sdpa_mask
    wrapped = attention_masks._unlooking(lambda *args, **named: made.append(make(*args, **named)))
    named = {"batch_size": 2, "q_length": 4, "kv_length": 4, "attention_mask": torch.ones((2, 4), dtype=torch.bool)}
    bidirectional = {"mask_function": transformers.masking_utils.bidirectional_mask_function, **named}
    for full in (True, False):
        with attention_masks._Unread(full):
            wrapped(**bidirectional, allow_is_causal_skip=False, allow_is_bidirectional_skip=True)
    assert made[0] is None
    assert made[1].all()
    assert made[1].shape[-1] == 4


def test_on_the_cpu_and_in_other_threads_nothing_changes():
    with unread_masks(torch.device("cpu")):
        assert attention_masks._state.full is None
    seen = []
    with unread_masks(META):
        assert attention_masks._state.full is False
        thread = threading.Thread(target=lambda: seen.append(attention_masks._state.full))
        thread.start()
        thread.join()
        with unread_masks(META, full=True):
            assert attention_masks._state.full is True
        assert attention_masks._state.full is False
    with pytest.raises(ZeroDivisionError), unread_masks(META):
        _ = 1 / 0
    assert seen == [None]
    assert attention_masks._state.full is None
