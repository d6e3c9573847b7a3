"""Conversations: one BOS, a fixed date, and a template that is never cut."""

import copy
import os
import re
import resource
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from scpo.tokens import chat_template
from scpo.tokens.chat_layout import learn_chat_layout
from scpo.tokens.encoding import encode_texts
from scpo.tokens.prompts import Dialogue

TURNS = (
    "{% for message in messages %}{{ message['role'] }} : {{ message['content'] }} {{ '<eos> ' }}"
    "{% endfor %}"
)
WORDS = st.lists(st.sampled_from("a b c d good bad".split()), max_size=12).map(" ".join)


@pytest.fixture(scope="module")
def with_template(chat_tokenizer):
    def make(template):
        tokenizer = copy.deepcopy(chat_tokenizer)
        tokenizer.chat_template = template
        return tokenizer

    return make


def said(tokenizer, prompt, response, *, max_tokens=32, overlong="truncate_prompt"):
    texts = encode_texts(tokenizer, [prompt], [response], max_tokens=max_tokens, overlong=overlong)
    return " ".join(tokenizer.convert_ids_to_tokens(texts.ids.tolist()))


@given(pairs=st.lists(st.tuples(WORDS, WORDS), max_size=5))
def test_a_conversation_is_what_the_template_gives(chat_tokenizer, pairs):
    texts = encode_texts(
        chat_tokenizer, [p for p, _ in pairs], [r for _, r in pairs], max_tokens=64
    )
    for number, (prompt, response) in enumerate(pairs):
        own = chat_tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
        )
        assert texts.tokens_of(number).tolist() == own["input_ids"]
    assert not texts.types.any()


def test_the_template_is_never_cut(chat_tokenizer):
    prompt, response = "a b c d e f g h", "good bad fine long"
    for max_tokens, policy, expected in (
        (14, "truncate_prompt", "<bos> user : f g h <eos> assistant : good bad fine long <eos>"),
        (11, "truncate_prompt", "<bos> user : <eos> assistant : good bad fine long <eos>"),
        (9, "truncate_prompt", "<bos> user : <eos> assistant : good bad <eos>"),
        (9, "truncate_left", "<bos> user : <eos> assistant : fine long <eos>"),
        (9, "drop", "<bos> user : <eos> assistant : good bad <eos>"),
        (8, "truncate_left", "<bos> user : <eos> assistant : long <eos>"),
    ):
        cut = said(chat_tokenizer, prompt, response, max_tokens=max_tokens, overlong=policy)
        assert cut == expected


def test_the_parts_of_a_template_are_learned(chat_tokenizer):
    layout = learn_chat_layout(chat_tokenizer)
    assert (layout.num_start, layout.num_between, layout.num_end) == (3, 3, 1)
    assert (layout.template, layout.num_special) == (chat_tokenizer.chat_template, 7)


def test_a_reply_header_that_the_generation_prompt_lacks_is_kept(with_template):
    # as of reasoning models: an empty thought stands before the reply of a finished turn only
    template = (
        "{{ '<bos> ' }}{% for message in messages %}{% if message['role'] == 'user' %}"
        "{{ message['content'] }} {% else %}{{ 'warm cold ' + message['content'] }}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}{{ 'assistant' }}{% endif %}"
    )
    tokenizer = with_template(template)
    assert learn_chat_layout(tokenizer).num_between == 2
    cut = said(tokenizer, "a b c d e f g h", "good bad", max_tokens=8)
    assert cut == "<bos> f g h warm cold good bad"


def test_a_template_without_bos_is_given_one(with_template):
    tokenizer = with_template(TURNS)
    assert said(tokenizer, "a b", "good") == "<bos> user : a b <eos> assistant : good <eos>"
    assert said(tokenizer, "a b", "good", max_tokens=8) == (
        "<bos> user : <eos> assistant : good <eos>"
    )
    texts = encode_texts(tokenizer, ["a", "b c", "a"], ["d", "e", "f"], max_tokens=16)
    assert texts.ids[texts.offsets[:-1]].tolist() == [4, 4, 4]
    assert np.sum(texts.ids == 4) == 3


def test_no_bos_is_given_where_the_tokenizer_uses_none(with_template):
    tokenizer = with_template(TURNS)
    tokenizer.bos_token = None
    assert said(tokenizer, "a", "b") == "user : a <eos> assistant : b <eos>"
    named_only = with_template(TURNS)
    named_only.bos_token = "<eos>"  # plain text does not begin with it
    assert said(named_only, "a", "b") == "user : a <eos> assistant : b <eos>"


def test_two_bos_are_refused(with_template):
    with pytest.raises(ValueError, match=r"must begin with one <bos>.*begins with two or more"):
        said(with_template("{{ '<bos> <bos> ' }}" + TURNS), "a", "b")


def test_the_date_is_fixed(with_template):
    llama = (
        "{% if date_string is not defined %}{% set date_string = strftime_now('%d %b %Y') %}"
        "{% endif %}{{ 'good ' if date_string == '26 Jul 2024' else 'bad ' }}"
    )
    stamps = (
        "{{ 'good ' if date_string == '26 Jul 2024' else 'bad ' }}",
        llama,
        "\n  {% set today = strftime_now('%A %d %B %Y') %}\n"
        "{{ 'good ' if today == 'Friday 26 July 2024' else 'bad ' }}",
        "{% macro stamp() %}{{ strftime_now('%y%m%d %H') }}{% endmacro %}"
        "{{ 'good ' if stamp() == '240726 00' else 'bad ' }}",
    )
    for stamp in stamps:
        text = said(with_template(stamp + TURNS), "a", "c")
        assert text == "<bos> good user : a <eos> assistant : c <eos>"


def test_a_template_larger_than_the_budget_is_refused(with_template):
    tokenizer = with_template("{{ '<bos> warm warm warm ' }}" + TURNS)
    with pytest.raises(ValueError, match=r"`max_tokens >= 11` .* takes 10 tokens, but got 10"):
        said(tokenizer, "a", "b", max_tokens=10)
    assert said(tokenizer, "a", "b", max_tokens=11).split()[-2:] == ["b", "<eos>"]


def test_templates_that_hide_or_swap_the_contents_are_refused(with_template):
    for template in (
        "{{ '' }}",
        "{{ '<bos>' }}",
        "{{ '<bos> ' + messages[1]['content'] }}",
        "{{ '<bos> ' + messages[0]['content'] }}",
        "{{ '<bos> ' + messages[1]['content'] + ' ' + messages[0]['content'] }}",
    ):
        with pytest.raises(ValueError, match="must show the user's text and then"):
            said(with_template(template), "a", "b")


def test_several_templates_need_a_default(with_template):
    tokenizer = with_template(TURNS)
    expected = said(tokenizer, "a", "b")
    tokenizer.chat_template = {"tool_use": "x", "default": TURNS}
    assert said(tokenizer, "a", "b") == expected
    tokenizer.chat_template = {"tool_use": TURNS, "rag": TURNS}
    tokenizer.name_or_path = "models/x"
    with pytest.raises(ValueError, match="of models/x must be named default, but there are tool_"):
        said(tokenizer, "a", "b")


@pytest.fixture(scope="module")
def byte_tokenizer():
    """Byte-level pairs, newlines merged, with BOS before plain text, as Llama 3 has it."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<s>", "<|start|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(["user\n\n\nassistant\n\nthe a an the user"] * 9, trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>")
    tokenizer.chat_template = (
        "{{ bos_token }}{% for message in messages %}<|start|>{{ message['role'] }}\n"
        "{{ message['content'] }}<|end|>\n{% endfor %}"
    )
    return tokenizer


TEXT = st.text(st.sampled_from("a the\nuser ü"), max_size=40)


@given(
    prompt=TEXT,
    response=TEXT,
    max_tokens=st.integers(16, 40),
    overlong=st.sampled_from(["truncate_prompt", "truncate_left"]),
)
def test_any_cut_conversation_is_whole_outside_its_contents(
    byte_tokenizer, prompt, response, max_tokens, overlong
):
    text = encode_texts(
        byte_tokenizer, [prompt], [response], max_tokens=max_tokens, overlong=overlong
    )
    assert text.lengths[0] <= max_tokens
    said = byte_tokenizer.decode(text.ids, skip_special_tokens=False)
    head, middle, end = "<s><|start|>user\n", "<|end|>\n<|start|>assistant\n", "<|end|>\n"
    assert said.startswith(head)
    assert said.endswith(end)
    left, between, right = said[len(head) : -len(end)].partition(middle)
    assert between == middle
    if not text.overlong[0]:
        assert (left, right) == (prompt, response)
    elif right != response:  # nothing of the prompt is left but what merged with the template
        assert not left.strip("\n")


def test_contents_that_share_tokens_with_the_template_stay_whole_and_in_budget():
    """Merges over an edge: the template's ":" and a content's own become one token."""
    vocabulary = {letter: n for n, letter in enumerate(["?", "1", "a", "b", ":", "#", "::"])}
    backend = Tokenizer(models.BPE(vocabulary, [(":", ":")], unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.Split("#", "isolated")
    backend.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    tokenizer.chat_template = "#:{{ messages[0]['content'] }}#:{{ messages[1]['content'] }}:"
    layout = learn_chat_layout(tokenizer)
    assert (layout.num_start, layout.num_between, layout.num_end) == (2, 2, 1)
    prompts, responses = ["a", ":", "", ":" * 9, ":"], ["b", ":", "", "b", ":" * 9]
    texts = encode_texts(tokenizer, prompts, responses, max_tokens=8)
    assert [tokenizer.decode(texts.tokens_of(number)) for number in range(3)] == [
        "#:a#:b:",
        "#::#:::",
        "#:#::",
    ]
    assert texts.lengths.max() <= 8


ROLES = (
    "{{ '<bos> ' }}{% for message in messages %}{% if message['role'] == 'tool' %}"
    "{{ raise_exception('No tools here') }}{% endif %}{{ message['role'] }} : "
    "{{ message['content'] }} {{ '<eos> ' }}{% endfor %}"
)
TURNS_OF = st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), WORDS), min_size=1)


@given(dialogues=st.lists(st.tuples(TURNS_OF, WORDS), max_size=4))
def test_turns_are_what_the_template_gives(chat_tokenizer, dialogues):
    prompts = [Dialogue("not read", tuple(turns)) for turns, _ in dialogues]
    texts = encode_texts(chat_tokenizer, prompts, [said for _, said in dialogues], max_tokens=999)
    for number, (turns, response) in enumerate(dialogues):
        messages = [{"role": r, "content": c} for r, c in (*turns, ("assistant", response))]
        own = chat_tokenizer.apply_chat_template(messages)
        assert texts.tokens_of(number).tolist() == own["input_ids"]


def test_a_dialogue_over_the_budget_loses_its_oldest_turns_whole(with_template):
    tokenizer = with_template(
        ROLES.replace("message['role'] }} :", "message['role'] | replace('system', ':') }} :")
    )
    turns = (("system", "g h"), ("user", "a b"), ("assistant", "c"), ("user", "d e f"))
    reply = "<eos> assistant : good <eos>"
    for max_tokens, expected in (
        (25, f"<bos> : : g h <eos> user : a b <eos> assistant : c <eos> user : d e f {reply}"),
        (24, f"<bos> : : g h <eos> user : d e f {reply}"),
        (16, f"<bos> : : g h <eos> user : d e f {reply}"),
        (15, f"<bos> user : d e f {reply}"),
        (10, f"<bos> user : e f {reply}"),
        (9, f"<bos> user : f {reply}"),
    ):
        texts = encode_texts(
            tokenizer, [Dialogue("", turns), "a"], ["good", "b"], max_tokens=max_tokens
        )
        said = tokenizer.convert_ids_to_tokens(texts.tokens_of(0).tolist())
        assert " ".join(said) == expected
        assert texts.overlong.tolist() == [max_tokens < 25, False]
    opened = Dialogue("", (("user", "a b c"), ("assistant", "d e f")))  # nothing to leave out
    cut = encode_texts(tokenizer, [opened], ["good"], max_tokens=10)
    assert cut.lengths.tolist() == [10]


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ raise_exception('Not today') }}", "TemplateError: Not today"),
        ("{% if %}", "TemplateSyntaxError: "),
        ("{{ messages[0]['content'].__class__.__mro__ }}", "SecurityError: "),
        ("{{ cycler.__init__.__globals__.os.system('true') }}", "SecurityError: "),
        ("{{ messages[9]['content'] + 1 }}", "UndefinedError: "),
        ("{{ 1 / 0 }}", "ZeroDivisionError: "),
        ("{{ nothing() }}", "UndefinedError: "),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "RecursionError: "),
    ],
)
def test_a_template_that_fails_is_one_line(with_template, template, why):
    with pytest.raises(ValueError, match=r"must render conversations of user, assistant") as info:
        said(with_template(template), "a", "b")
    assert why in str(info.value)
    assert "\n" not in str(info.value)


COUNT = "{% for a in range(99999) %}"
LONG = "messages[0]['content'] | length > 3"
BOMBS = {
    "loop": f"{COUNT * 3}{'{% endfor %}' * 3}",
    "power": "{{ (messages | length + 7) ** (9 ** 9) }}",
    "repeat": "{{ 'x' * 10 ** 11 }}",
    "padded": "{{ ('%' ~ '99999999999s') % 'x' }}",
    "center": "{{ 'x' | center(99999999999) }}",
    "doubled": "{% set n = namespace(x='ab') %}{% for a in range(99) %}"
    "{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}",
    "list": "{{ ([0] * 10 ** 11) | length }}",
    "output": f"{COUNT}{{{{ 'x' * 999 }}}}{{% endfor %}}",
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_template_out_of_bounds_is_refused(with_template, monkeypatch, kind):
    monkeypatch.setattr(chat_template, "RENDER_S", 0.5)
    chat_template._stop()  # the next process has this limit
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tokenizer = with_template(BOMBS[kind] + TURNS)
    tokenizer.name_or_path = "models/of-a-stranger"
    with pytest.raises(ValueError, match=r"of models/of-a-stranger must render .* but ") as info:
        said(tokenizer, "a", "b")
    assert re.search("processor time|memory|MemoryError|OverflowError|characters", str(info.value))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 << 10
    # One that waits for a longer prompt passes the probes, and is refused in the data.
    late = with_template(f"{{% if {LONG} %}}{BOMBS[kind]}{{% endif %}}" + TURNS)
    assert said(late, "a", "b") == said(with_template(TURNS), "a", "b")
    with pytest.raises(ValueError, match="must render conversations of user, assistant, but"):
        said(late, "a b c", "b")
    chat_template._stop()


def test_the_process_of_templates_knows_no_secrets(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_notASecretOfAnybody")
    chat_template._stop()
    assert chat_template.render_conversations("{{ a }}", {"a": "b"}, [[]]) == ["b"]
    process = chat_template._running[os.getpid()]
    assert b"TOKEN" not in Path(f"/proc/{process.pid}/environ").read_bytes()
    chat_template._stop()
    assert process.returncode == 0


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages | tojson }}{{ messages | tojson(indent=2) }}",
        "{% for m in messages %}\n    {% generation %}\n  {{ m.content }}{% endgeneration %}\n"
        "{% if loop.index == 1 %}{% continue %}{% endif %}{{ m['role'] }}\n{% endfor %}",
        "{{ eos_token }}{{ tools }}{{ documents is none }}{{ add_generation_prompt }}"
        "{{ date_string }}{% if no is defined %}{{ no }}{% endif %}",
    ],
)
def test_texts_are_those_of_transformers(with_template, template):
    tokenizer = with_template(template)
    messages = [{"role": "user", "content": " <b>ü\n"}, {"role": "assistant", "content": "b "}]
    variables = {
        **tokenizer.special_tokens_map,
        **{"tools": None, "documents": None, "add_generation_prompt": False},
        "date_string": "x",
    }
    own = tokenizer.apply_chat_template([messages], tokenize=False, date_string="x")
    assert chat_template.render_conversations(template, variables, [messages]) == own


def test_a_role_that_the_template_refuses_is_named(with_template):
    tokenizer = with_template(ROLES)
    dialogue = Dialogue("", (("tool", "a"), ("user", "b")))
    with pytest.raises(ValueError, match=r"of tool, user, assistant, but .*No tools here"):
        said(tokenizer, dialogue, "c")
