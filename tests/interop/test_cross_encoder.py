"""sentence-transformers' CrossEncoder on exported encoders."""

from pathlib import Path

import pytest

from tests.dialogues import CONVERSATIONS, as_pair
from tests.interop.conftest import Exports, assert_equal, our_rewards, require


@pytest.mark.parametrize("kind", ["bert", "deberta"])
def test_cross_encoder_gives_our_raw_rewards(exports: Exports, kind: str) -> None:
    library = require("sentence_transformers")
    model = library.CrossEncoder(str(exports(kind)), device="cpu")
    assert_equal(model.predict([*map(as_pair, CONVERSATIONS)]), our_rewards(exports(kind)))


def test_the_card_of_a_decoder_says_that_text_pairs_differ(exports: Exports) -> None:
    card = Path(exports("llama") / "README.md").read_text()
    assert "text pairs (CrossEncoder" in card
