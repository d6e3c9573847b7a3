"""Fixtures that every package's tests may use."""

import os
from pathlib import Path

import pyarrow.compute as pc
import pytest
import torch
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from scpo.data.synthetic import make_synthetic


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data; the test is skipped where there is none."""
    default = Path(__file__).parents[1] / ".." / "shared" / "data"
    folder = Path(os.environ.get("SCPO_DATA", default)).resolve()
    if not (folder / "prism" / "survey.jsonl").is_file():
        pytest.skip(f"no real data at {folder}; set SCPO_DATA to the folder that has it")
    return folder


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two narrow layers without a reward head, whose words are the synthetic ones."""
    torch.manual_seed(0)
    texts = make_synthetic(num_countries=1, users_per_country=6, seed=0).interactions
    said = [*texts["prompt"].to_pylist(), *pc.list_flatten(texts["responses"]).to_pylist()]
    words = {word for text in said for word in _words(text)}
    vocabulary = {word: n for n, word in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]"))}
    for word in sorted(words):
        vocabulary.setdefault(word, len(vocabulary))
    backend = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
    model = BertModel(
        BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=128,
        )
    )
    folder = tmp_path_factory.mktemp("backbone") / "tiny-bert"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _words(text: str) -> list[str]:
    return [word for word, _ in pre_tokenizers.BertPreTokenizer().pre_tokenize_str(text)]
