"""Decoders: a prompt computed once for its K responses, against each text by itself.

A small Llama with random weights is trained on interactions of four responses; the prompt is
short, as long as the responses, or much longer. Both ways take the same steps in turn; a figure
is the median over rounds of the ratio of pairs per second. Where the cost model sees no gain it
takes the texts apart, and the ratio is about 1.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from figures import machine, ratio_line
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast

from scpo.models.loading import load_reward_model
from scpo.models.reward_model import LoadedModel
from scpo.tokens.batches import TrainingSet
from scpo.tokens.encoding import TokenizedTexts
from scpo.training.engines import Optimization, TorchEngine
from scpo.training.forward_passes import BatchInputs, model_inputs
from scpo.training.loop import train_reward_model

NUM_RESPONSES = 4
RESPONSE_TOKENS = 48
PROMPTS = {"short": (4, ">= 0.9"), "equal": (48, ">= 1.2"), "long": (384, ">= 2")}
NUM_INTERACTIONS = 4
VOCABULARY = 1000


def make_llama(folder: Path) -> LoadedModel:
    """Return a Llama of 4 layers, 256 wide, with random weights."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=2048,
        num_labels=1,
        pad_token_id=0,
    )
    LlamaForSequenceClassification(config).save_pretrained(folder)
    backend = Tokenizer(WordLevel({"[PAD]": 0, "[UNK]": 1}, unk_token="[UNK]"))
    PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(folder)
    return load_reward_model(str(folder))


def make_set(prompt_tokens: int, seed: int) -> TrainingSet:
    """Return interactions of four responses behind one prompt, with all six pairs."""
    generator = np.random.default_rng(seed)
    texts, chosen, rejected, interaction = [], [], [], []
    low, high = np.triu_indices(NUM_RESPONSES, 1)
    for number in range(NUM_INTERACTIONS):
        prompt = generator.integers(2, VOCABULARY, prompt_tokens)
        own = generator.integers(RESPONSE_TOKENS // 2, RESPONSE_TOKENS * 3 // 2, NUM_RESPONSES)
        texts += [
            np.concatenate([prompt, generator.integers(2, VOCABULARY, count)]) for count in own
        ]
        chosen.append(NUM_RESPONSES * number + high)
        rejected.append(NUM_RESPONSES * number + low)
        interaction.append(np.full(len(low), number))
    ids = np.concatenate(texts).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int64)
    tokenized = TokenizedTexts(
        ids, np.zeros(len(ids), np.int8), offsets, np.zeros(len(texts), np.bool_)
    )
    pairs = [np.concatenate(column) for column in (chosen, rejected, interaction)]
    return TrainingSet(tokenized, *pairs, np.ones(len(pairs[0])))


def train(reward: LoadedModel, data: TrainingSet, inputs: BatchInputs) -> float:
    """Return pairs per second of one epoch."""
    engine = TorchEngine(reward, Optimization(1e-6, NUM_INTERACTIONS // 2))
    started = time.perf_counter()
    result = train_reward_model(engine, data, inputs, pairs_per_step=12, seed=0)
    return result.pairs_seen / (time.perf_counter() - started)


def measure(rounds: int) -> list[str]:
    """Return a line for each length of prompt."""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        reward = make_llama(Path(folder))
    shared = model_inputs(reward)
    apart = BatchInputs(shared.pad_id, shared.with_types)
    for name, (prompt_tokens, reach) in PROMPTS.items():
        train(reward, make_set(prompt_tokens, 0), shared)
        rates: dict[str, list[float]] = {"shared": [], "apart": []}
        for number in range(1, rounds + 1):
            data = make_set(prompt_tokens, number)
            rates["shared"].append(train(reward, data, shared))
            rates["apart"].append(train(reward, data, apart))
        ratios = [
            ours / other for ours, other in zip(rates["shared"], rates["apart"], strict=True)
        ]
        lines.append(
            ratio_line(
                f"training pairs/s of a decoder, {name} prompt ({prompt_tokens} tokens, responses "
                f"of about {RESPONSE_TOKENS}), shared",
                ratios,
                {f"{way}_pairs_per_s": rate for way, rate in rates.items()},
                reach=reach,
                against="each text by itself",
                on=machine("fp32"),
            )
        )
    return lines


def main() -> None:
    """Measure, and print a JSON line a figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for line in measure(arguments.rounds):
        print(line, flush=True)


if __name__ == "__main__":
    main()
