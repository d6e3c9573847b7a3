"""Training on one GPU, at the shape of DeBERTa-v3-base and of Llamas of 1 to 7 billion weights.

Random weights and random tokens with the lengths of PRISM: four responses behind one prompt, all
six pairs. This project's loop and TRL's RewardTrainer take the same pairs, the same number a
step, with AdamW, float32 master weights and bf16 matrix products, one after the other in one
process. Utilization is the model's arithmetic on real tokens, forward and twice that backward
(recomputation and padding count for nothing), as a share of PEAK_FLOPS. A shape that does not fit
is left out with a line on standard error. Without a GPU nothing is measured.
"""

import argparse
import gc
import os
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from bench_training import LoopTimer
from datasets import Dataset, disable_progress_bars
from figures import figure_line
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    AutoModelForSequenceClassification,
    DebertaV2Config,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    PrinterCallback,
)
from transformers.utils import logging as transformers_logging
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import RewardTrainer
from workload import draw_lengths

from scpo.config import TrainingConfig
from scpo.models.classifier import adapt_classes
from scpo.models.reward_model import LoadedModel
from scpo.tokens.batches import TrainingSet
from scpo.tokens.encoding import TokenizedTexts
from scpo.training.fit import fit_on_device
from scpo.training.loop import TrainingResult

PEAK_FLOPS = 989e12  # bf16, dense, of an H100 or H200 SXM
NUM_RESPONSES = 4
PROMPT_TOKENS = 20
PAIRS_PER_STEP = 384
LEARNING_RATE = 1e-6
VOCABULARY = 128_100


@dataclass(frozen=True)
class Shape:
    """A model and how much of it is trained.

    Attributes:
        config: Makes the model.
        steps: Steps timed.
        trl_pairs: Pairs of one of TRL's passes; its step accumulates to PAIRS_PER_STEP.
        checkpointing: Recompute activations, in both loops.
        accumulation: Backward passes of a step of this project's loop.
        reach: What utilization must do.
    """

    config: PreTrainedConfig
    steps: int
    trl_pairs: int
    checkpointing: bool
    accumulation: int
    reach: str


def llama(hidden: int, inner: int, layers: int, heads: int, key_heads: int) -> LlamaConfig:
    """Return a Llama of a width, a depth and numbers of heads."""
    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        max_position_embeddings=2048,
        num_labels=1,
        pad_token_id=0,
        use_cache=False,
    )


def deberta(hidden: int, layers: int) -> DebertaV2Config:
    """Return DeBERTa-v3 of a width and a depth."""
    return DebertaV2Config(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        intermediate_size=4 * hidden,
        max_position_embeddings=512,
        type_vocab_size=0,
        relative_attention=True,
        position_buckets=256,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type="p2c|c2p",
        position_biased_input=False,
        num_labels=1,
        pad_token_id=0,
    )


def shapes() -> dict[str, Shape]:
    """Return the shapes by name; `tiny` is to try the benchmark itself."""
    return {
        "tiny": Shape(llama(64, 128, 2, 4, 2), 2, 64, True, 2, ">= 0"),
        "Llama 1.2 B": Shape(llama(2048, 8192, 16, 32, 8), 4, 64, False, 2, ">= 0.4"),
        "Llama 6.7 B": Shape(llama(4096, 11008, 32, 32, 32), 2, 32, True, 1, ">= 0.4"),
        "DeBERTa-v3-base": Shape(deberta(768, 12), 6, 64, False, 1, ">= 0"),
        "Llama 3.2 B": Shape(llama(3072, 8192, 28, 24, 8), 3, 64, True, 1, ">= 0.4"),
    }


def make_set(num_interactions: int, seed: int) -> TrainingSet:
    """Return interactions of random tokens with all pairs."""
    generator = np.random.default_rng(seed)
    low, high = np.triu_indices(NUM_RESPONSES, 1)
    lengths = draw_lengths(num_interactions, generator)
    texts = []
    for row in lengths:
        prompt = generator.integers(2, VOCABULARY, min(PROMPT_TOKENS, int(row.min()) - 4))
        texts += [
            np.concatenate([prompt, generator.integers(2, VOCABULARY, count - len(prompt))])
            for count in row
        ]
    first = NUM_RESPONSES * np.arange(num_interactions)[:, None]
    tokenized = TokenizedTexts(
        np.concatenate(texts).astype(np.int32),
        np.zeros(lengths.sum(), np.int8),
        np.concatenate([[0], np.cumsum(lengths.ravel())]).astype(np.int64),
        np.zeros(lengths.size, np.bool_),
    )
    chosen, rejected = (first + high).ravel(), (first + low).ravel()
    interaction = np.repeat(np.arange(num_interactions), len(low))
    return TrainingSet(tokenized, chosen, rejected, interaction, np.ones(len(chosen)))


def make_model(config: PreTrainedConfig, device: str, *, ours: bool) -> LoadedModel:
    """Return a model with random weights, as this project changes it or as transformers has it."""
    backend = Tokenizer(WordLevel({"[PAD]": 0, "[UNK]": 1, "[EOS]": 2}, unk_token="[UNK]"))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", eos_token="[EOS]"
    )
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForSequenceClassification.from_config(config)
    if ours:
        adapt_classes(model, tokenizer.pad_token_id)
    return LoadedModel(model.eval(), tokenizer)


def train_ours(reward: LoadedModel, data: TrainingSet, shape: Shape) -> TrainingResult:
    """Train one epoch with this project's loop."""
    config = TrainingConfig(
        pairs_per_step=PAIRS_PER_STEP,
        learning_rate=LEARNING_RATE,
        precision="bf16",
        accumulation=shape.accumulation,
        activation_checkpointing=shape.checkpointing,
    )
    return fit_on_device(reward, data, config)


def train_with_trl(reward: LoadedModel, data: TrainingSet, shape: Shape) -> float:
    """Return the seconds of one epoch of TRL's loop."""
    tokens = {
        "chosen_ids": [data.texts.tokens_of(number).tolist() for number in data.chosen],
        "rejected_ids": [data.texts.tokens_of(number).tolist() for number in data.rejected],
    }
    timer = LoopTimer()
    with tempfile.TemporaryDirectory() as folder:
        trainer = RewardTrainer(
            model=reward.model,
            args=RewardConfig(
                output_dir=folder,
                per_device_train_batch_size=shape.trl_pairs,
                gradient_accumulation_steps=PAIRS_PER_STEP // shape.trl_pairs,
                num_train_epochs=1,
                learning_rate=LEARNING_RATE,
                max_length=512,
                bf16=torch.cuda.is_available(),
                gradient_checkpointing=shape.checkpointing,
                optim="adamw_torch_fused",
                eval_strategy="no",
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                use_cpu=not torch.cuda.is_available(),
            ),
            train_dataset=Dataset.from_dict(tokens),
            processing_class=reward.tokenizer,
            callbacks=[timer],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return timer.seconds


def flops_per_token(reward: LoadedModel, data: TrainingSet) -> float:
    """Return the arithmetic of a training on one token: 6 a weight, and the attention's."""
    model, config = reward.model, reward.model.config
    embedded = sum(weight.numel() for weight in model.get_input_embeddings().parameters())
    weights = sum(weight.numel() for weight in model.parameters()) - embedded
    lengths = data.texts.lengths.astype(np.float64)
    seen = float((lengths**2).sum() / lengths.sum())
    return 6.0 * weights + 12.0 * config.num_hidden_layers * config.hidden_size * seen


def measure_ours(shape: Shape, data: TrainingSet, device: str) -> tuple[float, dict[str, float]]:
    """Return the chip's utilization by this project's loop, and what goes with it.

    An epoch comes before the timed one, so that memory is laid out as in a long training.
    """
    reward = make_model(shape.config, device, ours=True)
    per_token, tokens = flops_per_token(reward, data), int(data.texts.lengths.sum())
    train_ours(reward, data, shape)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    result = train_ours(reward, data, shape)
    return per_token * tokens / result.train_s / PEAK_FLOPS, {
        "pairs_per_s": len(data.chosen) / result.train_s,
        "tokens_per_s": tokens / result.train_s,
        "peak_gib": peak_gib(device),
        "real_of_padded": result.real_tokens / result.padded_tokens,
        "model_of_loop": result.model_s / result.train_s,
        "billion_weights": sum(weight.numel() for weight in reward.model.parameters()) / 1e9,
    }


def measure_trl(
    shape: Shape, data: TrainingSet, warm_up: TrainingSet, device: str
) -> dict[str, float]:
    """Return the pairs per second of TRL's loop, and its memory."""
    plain = make_model(shape.config, device, ours=False)
    train_with_trl(plain, warm_up, shape)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = train_with_trl(plain, data, shape)
    return {"trl_pairs_per_s": len(data.chosen) / seconds, "trl_peak_gib": peak_gib(device)}


def measure(name: str, shape: Shape, device: str) -> list[str]:
    """Return the lines of one shape."""
    per_step = PAIRS_PER_STEP // (NUM_RESPONSES * (NUM_RESPONSES - 1) // 2)
    data = make_set(shape.steps * per_step, 1)
    utilization, ours = measure_ours(shape, data, device)
    release(device)
    trl = measure_trl(shape, data, make_set(per_step, 0), device)
    chip = torch.cuda.get_device_name() if device == "cuda" else device
    on = f"{chip}, torch {torch.__version__}, bf16"
    return [
        figure_line(
            f"{name}: model's arithmetic / the chip's bf16 peak",
            utilization,
            "fraction",
            reach=shape.reach,
            against=f"{PEAK_FLOPS / 1e12:.0f} TFLOP/s",
            on=on,
            detail=ours,
        ),
        figure_line(
            f"{name}: training pairs/s, ratio to trl",
            ours["pairs_per_s"] / trl["trl_pairs_per_s"],
            "x",
            reach=">= 1",
            against="TRL RewardTrainer",
            on=on,
            detail=trl,
        ),
    ]


def peak_gib(device: str) -> float:
    """Return the most memory that was taken since the last reset."""
    return torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else float("nan")


def release(device: str) -> None:
    """Give memory back."""
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()


def main() -> None:
    """Measure, and print two JSON lines a shape."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = [name for name in shapes() if name != "tiny"]
    parser.add_argument("--shapes", nargs="*", default=names, choices=list(shapes()))
    parser.add_argument("--on-cpu", action="store_true", help="to try the benchmark itself")
    arguments = parser.parse_args()
    if not (torch.cuda.is_available() or arguments.on_cpu):
        sys.stderr.write("gpu: no GPU, nothing measured\n")
        return
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    warnings.simplefilter("ignore")
    transformers_logging.set_verbosity_error()
    disable_progress_bars()
    device = "cpu" if arguments.on_cpu else "cuda"
    for name in arguments.shapes:
        started = time.perf_counter()
        try:
            for line in measure(name, shapes()[name], device):
                print(line, flush=True)
        except torch.OutOfMemoryError as error:
            sys.stderr.write(f"{name}: does not fit: {str(error).splitlines()[0]}\n")
        release(device)
        sys.stderr.write(f"{name}: {time.perf_counter() - started:.0f} s\n")


if __name__ == "__main__":
    main()
