"""One dialogue is one prompt and two responses in every layout; what is none is refused."""

import json
from typing import Any

import pytest

from scpo.data.reading.bad_rows import RowFault
from scpo.data.reading.trl_columns import PairTexts, extract_texts


def extract(**row: Any) -> PairTexts:
    return extract_texts(row, "prompt", "chosen", "rejected")


def message(role: str, content: object, **more: object) -> dict[str, object]:
    return {"role": role, "content": content, **more}


TURNS = (("user", "Which dish?"), ("assistant", "Soup?"), ("user", "Which soup?"))
TEXT = "User: Which dish?\n\nAssistant: Soup?\n\nUser: Which soup?"
HH = "\n\nHuman: Which dish?\n\nAssistant: Soup?\n\nHuman: Which soup?"
HISTORY = [message(*turn) for turn in TURNS]


def answer(text: str, role: str = "assistant") -> list[dict[str, object]]:
    return [message(role, text)]


def full(text: str) -> list[dict[str, object]]:
    return HISTORY + answer(text)


SHAREGPT = [{"from": "human", "value": "Which dish?"}, {"from": "gpt", "value": "Soup?"}]
SHAREGPT += [{"from": "human", "value": "Which soup?"}]


@pytest.mark.parametrize(
    ("prompt", "chosen", "rejected"),
    [
        (None, full("Lentil."), full("None.")),
        (HISTORY, answer("Lentil."), answer("None.")),
        (HISTORY, "Lentil.", "None."),
        (HISTORY, message("assistant", "Lentil."), message("assistant", "None.")),
        (HISTORY, full("Lentil. \n"), full("\nNone.")),
        (HISTORY[2:], full("Lentil."), full("None.")),
        (HISTORY[:1], full("Lentil."), full("None.")),
        (HISTORY, full("Lentil.")[2:], full("None.")[2:]),
        (HISTORY[:2], full("Lentil.")[2:], full("None.")[2:]),
        ("Which soup?\n", full("Lentil."), full("None.")),
        (None, f"{HH}\n\nAssistant: Lentil.", f"{HH}\n\nAssistant: None."),
        (f"{HH}\n\nAssistant:", " Lentil.", " None."),
        (f"{HH}\n\nAssistant:", "Assistant: Lentil.", "Assistant: None."),
        (HH, f"{HH}\n\nAssistant: Lentil.", f"{HH}\n\nAssistant: None."),
        (f"{HH}\n\nAssistant:", f"{HH}\n\nAssistant: Lentil.", f"{HH}\n\nAssistant: None."),
        (HH.strip(), f"{HH}\n\nAssistant: Lentil. ", f"{HH}\n\nAssistant: None.\n"),
        (HH.replace("\n", "\r\n"), "Lentil.", "None."),
        (SHAREGPT, {"from": "gpt", "value": "Lentil."}, {"from": "gpt", "value": "None."}),
        (
            [message("prompter", "Which dish?"), message("bot", "Soup?"), *HISTORY[2:]],
            answer("Lentil.", "model"),
            answer("None.", " Assistant "),
        ),
        (
            [*HISTORY[:2], message("user", [{"type": "text", "text": "Which soup?"}])],
            [message("assistant", [{"type": "text", "text": "Lentil.", "image_url": None}])],
            answer("None."),
        ),
        (
            [message(*turn, tool_calls=None, name="Ana") for turn in TURNS],
            [message("assistant", "Lentil.", tool_calls=[])],
            answer("None."),
        ),
    ],
)
def test_one_dialogue_in_any_layout(prompt: object, chosen: object, rejected: object) -> None:
    row = {"chosen": chosen, "rejected": rejected}
    found = extract(**row if prompt is None else row | {"prompt": prompt})
    assert found == (TEXT, "Lentil.", "None.", TURNS)


SYSTEM = message("system", "Be brief.")


@pytest.mark.parametrize(
    ("prompt", "before"),
    [
        (None, [SYSTEM, *HISTORY]),
        ([SYSTEM, *HISTORY], []),
        ([SYSTEM, *HISTORY], HISTORY),
        ([SYSTEM, *HISTORY], [SYSTEM, *HISTORY]),
        (HISTORY, [SYSTEM, *HISTORY]),
        ([SYSTEM], HISTORY),
        ([message("developer", "Be brief."), *HISTORY], []),
    ],
)
def test_system_message_is_kept(prompt: object, before: list[object]) -> None:
    row = {"chosen": before + answer("Lentil."), "rejected": before + answer("None.")}
    found = extract(**row if prompt is None else row | {"prompt": prompt})
    system = ("system", "Be brief.")
    assert found == (f"System: Be brief.\n\n{TEXT}", "Lentil.", "None.", (system, *TURNS))


@pytest.mark.parametrize(
    ("prompt", "chosen", "rejected"),
    [
        ("Sky?", " blue ", "red"),
        ("Sky?\n", "Sky?\nblue", "Sky? red"),
        (
            "Sky?",
            [message("user", "Sky?\n"), *answer("blue")],
            [message("user", "Sky?"), *answer("red")],
        ),
        ([message("user", "Sky?")], answer("blue"), answer("red")),
        ("\n\nHuman: Sky?\n\nAssistant:", " blue", " red"),
        ("Human: Sky?", "Assistant: blue", "red"),
    ],
)
def test_lone_message_of_the_user_is_its_text(
    prompt: object, chosen: object, rejected: object
) -> None:
    assert extract(prompt=prompt, chosen=chosen, rejected=rejected) == (
        "Sky?",
        "blue",
        "red",
        None,
    )


@pytest.mark.parametrize(
    ("row", "texts"),
    [
        ({"prompt": "Hi", "chosen": "Hi there", "rejected": "Hide"}, ("Hi", "Hi there", "Hide")),
        ({"prompt": "Say it", "chosen": "Say it", "rejected": "No"}, ("Say it", "Say it", "No")),
        (
            {"chosen": "The sky is blue.", "rejected": "The sky is black."},
            ("The sky is", "blue.", "black."),
        ),
        (
            {"prompt": "User: eva\nDisk: full", "chosen": "User: eva", "rejected": "b"},
            ("User: eva\nDisk: full", "User: eva", "b"),
        ),
        (
            {"prompt": "List two", "chosen": "['a', 'b']", "rejected": "a, b"},
            ("List two", "['a', 'b']", "a, b"),
        ),
        (
            {"prompt": "JSON?", "chosen": '{"from": "Lima"}', "rejected": "[1]"},
            ("JSON?", '{"from": "Lima"}', "[1]"),
        ),
        (
            {"prompt": "JSON?", "chosen": '{"role": "user", "id": 1}', "rejected": "<s>x</s>"},
            ("JSON?", '{"role": "user", "id": 1}', "<s>x</s>"),
        ),
    ],
)
def test_texts_that_are_no_layout_stay(row: dict[str, str], texts: tuple[str, str, str]) -> None:
    assert extract(**row)[:3] == texts


CHAT = [message("user", "Sky?"), message("assistant", "blue")]
CALL = {"tool_calls": [{"function": {"name": "weather", "arguments": "{}"}}]}
LIST = str(CHAT)


@pytest.mark.parametrize(
    ("row", "reason", "field"),
    [
        ({"prompt": "p", "chosen": "a"}, "missing_field", "rejected"),
        ({"prompt": "p", "chosen": None, "rejected": "a"}, "missing_field", "chosen"),
        ({"prompt": None, "chosen": "b", "rejected": "a"}, "missing_field", "prompt"),
        ({"chosen": "b", "rejected": "a"}, "missing_field", "prompt"),
        ({"chosen": answer("b"), "rejected": answer("a")}, "missing_field", "prompt"),
        ({"prompt": "p", "chosen": 3, "rejected": "a"}, "wrong_type", "chosen"),
        ({"prompt": "p", "chosen": "a", "rejected": ["a"]}, "wrong_type", "rejected"),
        ({"prompt": 3, "chosen": "a", "rejected": "b"}, "wrong_type", "prompt"),
        ({"prompt": "p", "chosen": ["a"], "rejected": ["b"]}, "wrong_type", "chosen"),
        ({"prompt": "p", "chosen": [], "rejected": CHAT}, "empty_text", "chosen"),
        ({"prompt": " ", "chosen": "a", "rejected": "b"}, "empty_text", "prompt"),
        ({"prompt": "p", "chosen": "", "rejected": "b"}, "empty_text", "chosen"),
        (
            {"prompt": [SYSTEM, message("user", "")], "chosen": "a", "rejected": "b"},
            "empty_text",
            "prompt",
        ),
        ({"prompt": "p", "chosen": "a", "rejected": "a "}, "chosen_equals_rejected", "rejected"),
        (
            {"prompt": "p", "chosen": "a\r\nb", "rejected": "a\nb"},
            "chosen_equals_rejected",
            "rejected",
        ),
        ({"chosen": "a b", "rejected": "a b"}, "chosen_equals_rejected", "rejected"),
        ({"chosen": CHAT, "rejected": CHAT}, "chosen_equals_rejected", "rejected"),
        # The prompt where a response must stand.
        ({"prompt": "Sky?", "chosen": CHAT, "rejected": CHAT[:1]}, "prompt_alone", "rejected"),
        (
            {"prompt": "Sky?", "chosen": "Sky? blue", "rejected": "Sky? "},
            "prompt_alone",
            "rejected",
        ),
        ({"chosen": CHAT, "rejected": CHAT[:1]}, "no_assistant_turn", "rejected"),
        (
            {"prompt": "p", "chosen": answer("a", "user"), "rejected": answer("b")},
            "no_assistant_turn",
            "chosen",
        ),
        ({"prompt": "p", "chosen": "a", "rejected": "Human: b"}, "no_assistant_turn", "rejected"),
        (
            {"prompt": "Sky?", "chosen": [*CHAT, CHAT[0]], "rejected": CHAT},
            "no_assistant_turn",
            "chosen",
        ),
        ({"chosen": f"{HH}\n\nAssistant: a", "rejected": HH}, "no_assistant_turn", "rejected"),
        # Different prompts.
        (
            {"chosen": CHAT, "rejected": [message("user", "Sea?"), CHAT[1]]},
            "prompts_differ",
            "chosen",
        ),
        ({"chosen": [SYSTEM, *CHAT], "rejected": CHAT}, "prompts_differ", "chosen"),
        (
            {"prompt": "Sea?", "chosen": CHAT, "rejected": [CHAT[0], *answer("red")]},
            "prompts_differ",
            "chosen",
        ),
        (
            {
                "prompt": [SYSTEM, CHAT[0]],
                "chosen": [message("system", "Be long."), *CHAT],
                "rejected": [message("system", "Be long."), CHAT[0], *answer("red")],
            },
            "prompts_differ",
            "chosen",
        ),
        (
            {
                "prompt": CHAT,
                "chosen": [*CHAT[:1], *answer("b")],
                "rejected": [*CHAT[:1], *answer("c")],
            },
            "prompts_differ",
            "chosen",
        ),
        (
            {
                "prompt": "Sky?",
                "chosen": [SYSTEM, *answer("a")],
                "rejected": [SYSTEM, *answer("b")],
            },
            "prompts_differ",
            "chosen",
        ),
        (
            {"chosen": "Human: a\n\nAssistant: x", "rejected": "Human: b\n\nAssistant: y"},
            "prompts_differ",
            "chosen",
        ),
        # A response to a turn of the assistant.
        (
            {"prompt": CHAT, "chosen": answer("b"), "rejected": answer("c")},
            "prompt_answered",
            "prompt",
        ),
        (
            {"chosen": [*CHAT, *answer("b")], "rejected": [*CHAT, *answer("c")]},
            "prompt_answered",
            "prompt",
        ),
        # More than one response.
        (
            {"prompt": "Sky?", "chosen": answer("a") + CHAT, "rejected": answer("b")},
            "several_turns",
            "chosen",
        ),
        (
            {"chosen": [*CHAT, *CHAT], "rejected": [CHAT[0], *answer("red"), *CHAT]},
            "several_turns",
            "chosen",
        ),
        (
            {"prompt": HH, "chosen": "a\n\nHuman: b\n\nAssistant: c", "rejected": "d"},
            "several_turns",
            "chosen",
        ),
        # What is no text.
        (
            {
                "prompt": "p",
                "chosen": [message("assistant", None, **CALL)],
                "rejected": answer("b"),
            },
            "unread_content",
            "chosen",
        ),
        (
            {
                "prompt": "p",
                "chosen": answer("b"),
                "rejected": [message("assistant", "I look.", **CALL)],
            },
            "unread_content",
            "rejected",
        ),
        (
            {"prompt": [message("user", [{"type": "image"}])], "chosen": "a", "rejected": "b"},
            "unread_content",
            "prompt",
        ),
        (
            {"prompt": "p", "chosen": [message("assistant", "a", thinking="b")], "rejected": "c"},
            "unread_content",
            "chosen",
        ),
        (
            {"prompt": [CHAT[0], message("tool", "5")], "chosen": "a", "rejected": "b"},
            "unknown_role",
            "prompt",
        ),
        ({"prompt": "Sky?", "chosen": LIST, "rejected": LIST}, "printed_messages", "chosen"),
        (
            {"prompt": "Sky?", "chosen": "a", "rejected": LIST.replace("'", '"')},
            "printed_messages",
            "rejected",
        ),
        (
            {"prompt": "Sky?", "chosen": LIST.replace("}, {", "}\n {"), "rejected": "b"},
            "printed_messages",
            "chosen",
        ),
        (
            {"prompt": "['Sky?']", "chosen": "['blue']", "rejected": '["red"]'},
            "printed_messages",
            "prompt",
        ),
        (
            {"prompt": "<|im_start|>user\nSky?<|im_end|>", "chosen": "a", "rejected": "b"},
            "rendered_template",
            "prompt",
        ),
        (
            {"chosen": "<s>[INST] Sky? [/INST] a", "rejected": "<s>[INST] Sky? [/INST] b"},
            "rendered_template",
            "chosen",
        ),
        (
            {"prompt": [message("user", "<|user|>\nSky?")], "chosen": "a", "rejected": "b"},
            "rendered_template",
            "prompt",
        ),
        (
            {"prompt": [message("user", LIST)], "chosen": "a", "rejected": "b"},
            "printed_messages",
            "prompt",
        ),
    ],
)
def test_unusable_pair_is_refused(row: dict[str, Any], reason: str, field: str) -> None:
    with pytest.raises(RowFault, match="must") as caught:
        extract(**row)
    assert (caught.value.reason, caught.value.field) == (reason, field)


@pytest.mark.parametrize(
    "text",
    [
        f"array({LIST}, dtype=object)",
        json.dumps(json.dumps(CHAT)),
        "ChatCompletionMessage(content='blue', role='assistant')",
        "[{'role': 'Assistant', 'content': 'blue'}]",
        "[{'role': 'bot', 'content': 'blue'}]",
        "[{'from': 'gpt', 'value': 'blue'}]",
        "{'content': [{'type': 'text', 'text': 'blue'}], 'role': 'tool'}",
    ],
)
def test_however_messages_were_printed_they_are_no_text(text: str) -> None:
    with pytest.raises(RowFault, match="a printed list") as caught:
        extract(prompt="Sky?", chosen=text, rejected="red")
    assert caught.value.reason == "printed_messages"


@pytest.mark.parametrize(
    "text",
    [
        "<|im_start|>assistant\nblue<|im_end|>",
        "blue<|im_end|>\n",
        "blue<|eot_id|>",
        "blue</s>",
        "blue<end_of_turn>",
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>blue",
        "<\uff5cAssistant\uff5c>blue",
        "<|start|>assistant<|channel|>final<|message|>blue",
    ],
)
def test_marks_of_templates_at_either_end_are_refused(text: str) -> None:
    for response in (text, answer(text)):
        with pytest.raises(RowFault, match="what a chat template has rendered") as caught:
            extract(prompt="Sky?", chosen=response, rejected="red")
        assert caught.value.reason == "rendered_template"


@pytest.mark.parametrize(
    ("first", "second"), [("Cafe\u0301", "Caf\u00e9 "), ("Cafe\u0301", answer("Caf\u00e9"))]
)
def test_decomposed_and_composed_letters_are_the_same_text(first: str, second: object) -> None:
    with pytest.raises(RowFault, match="Two different responses"):
        extract(prompt="p", chosen=first, rejected=second)
