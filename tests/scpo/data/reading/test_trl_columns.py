from typing import Any

import pytest

from scpo.data.reading.bad_rows import RowFault
from scpo.data.reading.trl_columns import extract_texts


def extract(**row: Any) -> tuple[str, str, str]:
    return tuple(extract_texts(row, "prompt", "chosen", "rejected"))


def message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def test_explicit_prompt() -> None:
    assert extract(prompt="Sky?", chosen=" blue ", rejected="red") == ("Sky?", "blue", "red")


def test_response_that_repeats_the_prompt_alone_is_kept() -> None:
    row = {"prompt": "Hi", "chosen": "Hi there", "rejected": "Hide"}
    assert extract(**row) == ("Hi", "Hi there", "Hide")


def test_prompt_is_stripped_from_both_responses() -> None:
    row = {"prompt": "The sky is", "chosen": "The sky is blue.", "rejected": "The sky is red."}
    assert extract(**row) == ("The sky is", "blue.", "red.")


def test_hh_rlhf_with_a_prompt_column() -> None:
    prompt = "Human: Hello?\n\nAssistant: Yes?\n\nHuman: A pen."
    row = {
        "prompt": prompt,
        "chosen": prompt + "\n\nAssistant: Here, a pen.",
        "rejected": prompt + "\n\nAssistant: No.",
    }
    assert extract(**row) == (
        "User: Hello?\n\nAssistant: Yes?\n\nUser: A pen.",
        "Here, a pen.",
        "No.",
    )


def test_hh_rlhf_without_a_prompt_column_cuts_at_the_last_shared_turn() -> None:
    row = {
        "chosen": "\n\nHuman: A pen?\n\nAssistant: Here you are.",
        "rejected": "\n\nHuman: A pen?\n\nAssistant: Here is none.\n\nHuman: x\n\nAssistant: y",
    }
    assert extract(**row) == (
        "A pen?",
        "Here you are.",
        "Here is none.\n\nHuman: x\n\nAssistant: y",
    )


def test_implicit_prompt_ends_at_a_word() -> None:
    row = {"chosen": "The sky is blue.", "rejected": "The sky is black."}
    assert extract(**row) == ("The sky is", "blue.", "black.")


def test_conversational_explicit() -> None:
    row = {
        "prompt": [message("user", "Sky?")],
        "chosen": [message("assistant", "blue")],
        "rejected": [message("assistant", "red")],
    }
    assert extract(**row) == ("Sky?", "blue", "red")


def test_conversational_implicit_of_several_turns() -> None:
    shared = [message("system", "Be brief."), message("user", "Hi"), message("assistant", "Yes?")]
    row = {
        "chosen": [*shared, message("user", "Sky?"), message("assistant", "blue")],
        "rejected": [*shared, message("user", "Sky?"), message("assistant", "red")],
    }
    prompt = "System: Be brief.\n\nUser: Hi\n\nAssistant: Yes?\n\nUser: Sky?"
    assert extract(**row) == (prompt, "blue", "red")


def test_conversations_that_repeat_a_string_prompt() -> None:
    row = {
        "prompt": "Sky?",
        "chosen": [message("user", "Sky?"), message("assistant", "blue")],
        "rejected": [message("user", "Sky?"), message("assistant", "red")],
    }
    assert extract(**row) == ("Sky?", "blue", "red")


def test_response_of_several_turns_becomes_blocks() -> None:
    row = {
        "prompt": [message("user", "Sky?")],
        "chosen": [message("assistant", "a"), message("user", "b"), message("assistant", "c")],
        "rejected": [message("assistant", "red")],
    }
    assert extract(**row)[1] == "Assistant: a\n\nUser: b\n\nAssistant: c"


CHAT = [message("user", "Sky?"), message("assistant", "blue")]


@pytest.mark.parametrize(
    ("row", "reason", "field"),
    [
        ({"prompt": "p", "chosen": "a"}, "missing_field", "rejected"),
        ({"prompt": "p", "chosen": None, "rejected": "a"}, "missing_field", "chosen"),
        ({"prompt": None, "chosen": "b", "rejected": "a"}, "missing_field", "prompt"),
        ({"chosen": "b", "rejected": "a"}, "missing_field", "prompt"),
        ({"prompt": "p", "chosen": 3, "rejected": "a"}, "wrong_type", "chosen"),
        ({"prompt": "p", "chosen": "a", "rejected": ["a"]}, "wrong_type", "rejected"),
        ({"prompt": 3, "chosen": "a", "rejected": "b"}, "wrong_type", "prompt"),
        ({"prompt": "p", "chosen": ["a"], "rejected": ["b"]}, "wrong_type", "chosen"),
        ({"prompt": "p", "chosen": [], "rejected": CHAT}, "empty_text", "chosen"),
        ({"prompt": " ", "chosen": "a", "rejected": "b"}, "empty_text", "prompt"),
        ({"prompt": "p", "chosen": "", "rejected": "b"}, "empty_text", "chosen"),
        ({"prompt": "p", "chosen": "a", "rejected": "a "}, "chosen_equals_rejected", "rejected"),
        ({"chosen": "a b", "rejected": "a b"}, "chosen_equals_rejected", "rejected"),
        ({"chosen": CHAT, "rejected": CHAT}, "chosen_equals_rejected", "rejected"),
        ({"chosen": CHAT, "rejected": CHAT[:1]}, "empty_text", "rejected"),
        ({"chosen": CHAT[1:], "rejected": CHAT[:1]}, "missing_field", "prompt"),
    ],
)
def test_unusable_pair_is_refused(row: dict[str, Any], reason: str, field: str) -> None:
    with pytest.raises(RowFault, match="must") as caught:
        extract(**row)
    assert (caught.value.reason, caught.value.field) == (reason, field)


def test_decomposed_and_composed_letters_are_the_same_text() -> None:
    with pytest.raises(RowFault, match="Two different responses"):
        extract(prompt="p", chosen="Cafe\u0301", rejected="Caf\u00e9")
