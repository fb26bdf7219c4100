"""Chat templates that never end, or take all memory: each is the error of one input, and the next is rendered."""

from __future__ import annotations

import threading

import pytest

from sensorium.errors import InputError
from sensorium.processors import template_worker
from sensorium.processors.templates import _RENDERER, apart
from sensorium.processors.text import TextProcessor
from tests import tiny_reading

SOUND = "{% for message in messages %}{{ message.role }}: {{ message.content }}{% endfor %} {{ eos_token }}"
LARGE = {
    "characters at once": "{{ 'a' * 10**10 }}",
    "characters that double": "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}"
    "{% endfor %}{{ ns.x }}",
    "a filter": "{{ 'a'|center(10**10) }}",
    "a format": "{{ '%10000000000d' % 1 }}",
    "a list": "{{ ([0] * 10**10)|length }}",
    "a long prompt": "{% for i in range(50000) %}{{ 'a' * 200 }}{% endfor %}",
}


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_reading.causal(chat=True))


def with_template(tokenizer, template):
    tokenizer.chat_template = template
    return TextProcessor(tokenizer)


def test_a_prompt_is_what_transformers_renders(tokenizer):
    own = tokenizer.chat_template
    message = 'half a \ud83d, "quotes", \0 and ünïcode 😀'
    for template in (own, SOUND):
        text = with_template(tokenizer, template)
        expected = tokenizer.apply_chat_template(
            [{"role": "user", "content": message}], add_generation_prompt=True, tokenize=False
        )
        assert text.chat(message) == expected
    assert _RENDERER._process is not None


@pytest.mark.parametrize("template", LARGE.values(), ids=LARGE.keys())
def test_memory_and_length_are_bounded(tokenizer, template):
    with pytest.raises(InputError, match="chat template failed") as caught:
        with_template(tokenizer, template).chat("hello")
    assert caught.value.code == "template-failed"
    assert with_template(tokenizer, SOUND).chat("hello").startswith("user: hello")


@pytest.mark.slow
def test_time_is_bounded(tokenizer):
    endless = "{% for i in range(99999) %}" * 3 + "{% endfor %}" * 3
    with pytest.raises(InputError, match=f"takes longer than {template_worker.TIMEOUT_S:g} s"):
        with_template(tokenizer, endless).chat("hello")
    assert with_template(tokenizer, SOUND).chat("hello").startswith("user: hello")


@pytest.mark.parametrize(
    "template", ["{{ raise_exception('no') }}", "{% for %}", "{{ messages.x.y.z() }}", "{{ 1 / 0 }}"]
)
def test_an_error_of_a_template_is_told(tokenizer, template):
    with pytest.raises(InputError, match=r"chat template failed on this input: \w+Error"):
        with_template(tokenizer, template).chat("hello")


def test_a_process_that_was_ended_is_started_again(tokenizer):
    text = with_template(tokenizer, SOUND)
    text.chat("hello")
    _RENDERER._process.kill()
    _RENDERER._process.wait()
    assert text.chat("again").startswith("user: again")


def test_who_does_not_ask_for_it_renders_as_ever(tokenizer):
    text = with_template(tokenizer, SOUND)
    text.chat("hello")
    told = []

    def elsewhere():
        _RENDERER.close()
        told.append(tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False))
        told.append(_RENDERER._process)

    with apart():
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert told[0].startswith("user: x")
    assert told[1] is None
