"""Settings of generating models: what is taken, what is refused, and what is filled in."""

from __future__ import annotations

import pytest
import torch
from transformers import GenerationConfig

from sensorium.errors import OptionError, UnknownNameError
from sensorium.tasks.writing.keeping import seeded
from sensorium.tasks.writing.options import GenerationOptions, check_sampling, checked_generate_kwargs, filled


def test_given_holds_only_what_was_set():
    options = GenerationOptions.parse({"max_new_tokens": 5, "generate_kwargs": {"top_k": 3, "num_beams": None}})
    assert options.given() == {"max_new_tokens": 5, "top_k": 3}
    assert GenerationOptions().given() == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_new_tokens": 0},
        {"max_new_tokens": 2.0},
        {"max_new_tokens": True},
        {"min_new_tokens": -1},
        {"num_beams": 0},
        {"do_sample": 1},
        {"temperature": 0},
        {"temperature": float("nan")},
        {"top_p": 1.5},
        {"repetition_penalty": 0.0},
        {"no_repeat_ngram_size": -1},
        {"length_penalty": "long"},
        {"seed": 0.5},
    ],
)
def test_values_that_cannot_be_had(wrong):
    name = next(iter(wrong))
    with pytest.raises(OptionError, match=name):
        GenerationOptions.parse(wrong)
    if name != "seed":
        with pytest.raises(OptionError, match=name):
            checked_generate_kwargs(wrong)


def test_an_unknown_setting_names_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'num_beams'"):
        checked_generate_kwargs({"num_beam": 2})
    with pytest.raises(UnknownNameError, match="Did you mean 'language'"):
        checked_generate_kwargs({"langage": "en"}, further=["language", "task"])
    assert checked_generate_kwargs({"language": "en"}, further=["language"]) == {"language": "en"}


@pytest.mark.parametrize("given", ["num_beams=2", 7, [("num_beams", 2)]])
def test_no_mapping(given):
    with pytest.raises(OptionError, match="mapping"):
        GenerationOptions(generate_kwargs=given)


def test_what_is_not_the_caller_s_to_choose():
    with pytest.raises(OptionError, match="return_dict_in_generate"):
        checked_generate_kwargs({"return_dict_in_generate": True})


def test_what_transformers_would_refuse_later():
    with pytest.raises(OptionError, match="cache_implementation"):
        checked_generate_kwargs({"cache_implementation": "huge"})


def test_given_twice():
    with pytest.raises(OptionError, match="num_beams given twice"):
        GenerationOptions(num_beams=2, generate_kwargs={"num_beams": 3})
    assert GenerationOptions(num_beams=2, generate_kwargs={"num_beams": 2}).given() == {"num_beams": 2}


def test_sampling_that_would_do_nothing_is_refused():
    configured = GenerationConfig()
    for options in ({"temperature": 0.5}, {"seed": 1}, {"generate_kwargs": {"top_k": 5}}):
        with pytest.raises(OptionError, match="do_sample"):
            check_sampling(GenerationOptions(**options), configured)
        check_sampling(GenerationOptions(**options, do_sample=True), configured)
        check_sampling(GenerationOptions(**options), GenerationConfig(do_sample=True))
    check_sampling(GenerationOptions(), configured)


def test_defaults_fill_only_what_nobody_set():
    defaults = {"max_new_tokens": 256, "num_beams": 5, "temperature": 0.7}
    assert filled({}, GenerationConfig(), defaults) == {"max_new_tokens": 256, "num_beams": 5}
    assert filled({"num_beams": 1}, GenerationConfig(max_length=448), defaults) == {"num_beams": 1}
    assert filled({}, GenerationConfig(do_sample=True, num_beams=2), defaults) == {
        "max_new_tokens": 256,
        "temperature": 0.7,
    }


def test_a_seed_repeats_what_is_drawn_and_leaves_the_caller_s_state():
    device = torch.device("cpu")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with seeded(1, device):
        first = torch.rand(3)
    with seeded(1, device):
        assert torch.equal(torch.rand(3), first)
    assert torch.equal(torch.rand(3), expected)
    with seeded(None, device):
        torch.rand(1)
