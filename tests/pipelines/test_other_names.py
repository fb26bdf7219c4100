"""Keywords that do not exist, or not here: each is refused with what to write instead."""

from __future__ import annotations

import inspect

import pytest
import torch

from sensorium import OptionError, UnknownNameError, pipeline
from sensorium.pipelines.placement import resolve_device
from tests.media import make_image

STARTER = ("image-classification", "starter/image-classification")


@pytest.fixture(scope="module")
def classify():
    with pipeline(*STARTER, device=-1) as pipe:
        yield pipe


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("modle", "model"), ("revison", "revision"), ("devise", "device"), ("batchsize", "batch_size"), ("dtyp", "dtype")],
)
def test_a_wrong_argument_names_the_nearest(wrong, right):
    with pytest.raises(UnknownNameError, match=rf"unknown argument of pipeline\(\) '{wrong}'. Did you mean '{right}'"):
        pipeline("image-classification", **{wrong: 1})


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("torch_dtype", "dtype="),
        ("image_processor", "processor="),
        ("feature_extractor", "processor="),
        ("tokenizer", "processor="),
        ("model_kwargs", "attn_implementation"),
        ("config", "model=module"),
        ("framework", "PyTorch"),
        ("use_fast", "leave it out"),
        ("use_auth_token", "token="),
        ("load_in_8bit", "quantization_config="),
        ("top_k", r"pipe\(input, top_k="),
    ],
)
def test_transformers_arguments_are_answered_with_ours(theirs, ours):
    with pytest.raises(OptionError, match=f"{theirs}.*{ours}"):
        pipeline(*STARTER, **{theirs: None})
    with pytest.raises(OptionError, match=theirs):
        pipeline(task=STARTER[0], **{theirs: None})


def test_nothing_of_ours_is_answered_as_if_it_were_theirs():
    from sensorium.pipelines.other_names import _ADVICE, _SETTINGS

    names = set(inspect.signature(pipeline).parameters)
    assert not names & set(_ADVICE)
    assert names - {"task", "progress"} == _SETTINGS - {"progress"}


def test_the_cpu_is_minus_one_too(classify):
    assert classify.device == resolve_device(-1) == torch.device("cpu")
    with pytest.raises(OptionError, match="got -2"):
        resolve_device(-2)


def test_no_worker_at_all_is_refused_with_the_way_out():
    with pytest.raises(OptionError, match=r"num_workers.*got 0; 1 prepares"):
        pipeline(*STARTER, num_workers=0)


@pytest.mark.parametrize("name", ["batch_size", "num_workers", "device", "dtype"])
def test_a_setting_in_a_call_says_where_it_belongs(classify, name):
    image = make_image()
    for call in (classify, classify.stream, classify.submit):
        with pytest.raises(OptionError, match=rf"{name} is no option of a call.*pipeline\(…, {name}=…\)"):
            call([image] if call == classify.stream else image, **{name: 1})


def test_other_words_of_a_call(classify):
    with pytest.raises(OptionError, match=r"pipe\(x\), pipe\(image=x\)"):
        classify(inputs=make_image())
    with pytest.raises(UnknownNameError, match=r"'topk'. Did you mean 'top_k'"):
        classify(make_image(), topk=1)
    with pytest.raises(OptionError, match="torch_dtype"):
        classify(make_image(), torch_dtype="float32")
