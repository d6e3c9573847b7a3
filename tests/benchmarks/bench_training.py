"""Training speed: this project's loop against TRL's RewardTrainer and against two padded passes.

All three train MiniLM in float32 on the same pairs with the same AdamW, in one process, one
after the other in each round (A B C A B C ...), so that a busy machine slows all of them; a
figure is the median over rounds of the ratio of pairs per second. Tokenising, loading and
starting up are not timed; batching, forward, backward and optimizer are.

The third way is the one of the SCPO authors' code: every text padded to 512 tokens, the chosen
and the rejected texts in two forward passes. One thread is the default: two that wait for each
other on a busy machine make all three many times slower, and no ratio holds.
"""

import argparse
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
from datasets import Dataset, disable_progress_bars
from figures import figure_line, machine, ratio_line
from torch.nn.functional import logsigmoid
from transformers import (
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.utils import logging as transformers_logging
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import RewardTrainer
from workload import (
    Workload,
    data_folder,
    load_minilm,
    load_plain_minilm,
    make_workload,
    read_prism_work,
)

from scpo.arrays import IntArray
from scpo.config import TrainingConfig
from scpo.models.reward_model import LoadedModel
from scpo.tokens.encoding import TokenizedTexts
from scpo.training.fit import fit_on_device
from scpo.training.loop import TrainingResult

LEARNING_RATE = 1e-6
PAIRS_PER_STEP = 24
INTERACTIONS_PER_ROUND = 4
PADDED_TOKENS = 512
PADDED_PAIRS_PER_STEP = 4
PADDED_PAIRS = 4
PRISM_PAIRS = 24


class LoopTimer(TrainerCallback):
    """Times the training loop of a transformers Trainer.

    Attributes:
        seconds: From the first step's data to the last optimizer step.
    """

    def __init__(self) -> None:
        self.started = 0.0
        self.seconds = 0.0

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **rest: object,
    ) -> None:
        """Start the clock."""
        self.started = time.perf_counter()

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **rest: object,
    ) -> None:
        """Stop the clock."""
        self.seconds = time.perf_counter() - self.started


def train_ours(reward: LoadedModel, work: Workload) -> tuple[float, TrainingResult]:
    """Return the pairs per second of this project's loop, and what it did."""
    config = TrainingConfig(
        pairs_per_step=PAIRS_PER_STEP, learning_rate=LEARNING_RATE, precision="fp32"
    )
    started = time.perf_counter()
    result = fit_on_device(reward, work.training_set(), config)
    return result.pairs_seen / (time.perf_counter() - started), result


def train_with_trl(reward: LoadedModel, work: Workload, folder: Path) -> float:
    """Return the pairs per second of TRL's RewardTrainer, with its own dynamic padding."""
    texts, pairs = work.texts, work.pairs
    tokens = {
        "chosen_ids": [texts.tokens_of(number).tolist() for number in pairs.chosen],
        "rejected_ids": [texts.tokens_of(number).tolist() for number in pairs.rejected],
    }
    timer = LoopTimer()
    trainer = RewardTrainer(
        model=reward.model,
        args=RewardConfig(
            output_dir=str(folder),
            per_device_train_batch_size=PAIRS_PER_STEP,
            num_train_epochs=1,
            learning_rate=LEARNING_RATE,
            max_length=PADDED_TOKENS,
            bf16=False,
            gradient_checkpointing=False,
            eval_strategy="no",
            save_strategy="no",
            report_to="none",
            dataloader_num_workers=0,
            dataloader_pin_memory=False,
            disable_tqdm=True,
            use_cpu=True,
        ),
        train_dataset=Dataset.from_dict(tokens),
        processing_class=reward.tokenizer,
        callbacks=[timer],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return len(pairs) / timer.seconds


def train_padded(reward: LoadedModel, work: Workload, num_pairs: int) -> float:
    """Return the pairs per second of two passes over texts that are padded to 512 tokens."""
    reward.model.eval()  # dropout is off in all three ways
    optimizer = torch.optim.AdamW(reward.model.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
    pairs = work.pairs
    started = time.perf_counter()
    for start in range(0, num_pairs, PADDED_PAIRS_PER_STEP):
        part = slice(start, start + PADDED_PAIRS_PER_STEP)
        chosen = _padded_rewards(reward, work.texts, pairs.chosen[part])
        rejected = _padded_rewards(reward, work.texts, pairs.rejected[part])
        (-logsigmoid(chosen - rejected).mean()).backward()
        torch.nn.utils.clip_grad_norm_(reward.model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return num_pairs / (time.perf_counter() - started)


def measure(rounds: int) -> list[str]:
    """Return the figures' lines, after `rounds` rounds."""
    models = {"ours": load_minilm(), "trl": load_plain_minilm(), "padded": load_plain_minilm()}
    warm_up = make_workload(models["ours"], num_interactions=1, seed=0)
    first_turns: dict[str, list[float]] = {name: [] for name in models}
    prism: dict[str, list[float]] = {"ours": [], "trl": []}
    done: list[TrainingResult] = []
    real_data = data_folder()
    with tempfile.TemporaryDirectory() as folder:
        train_ours(models["ours"], warm_up)
        train_with_trl(models["trl"], warm_up, Path(folder))
        train_padded(models["padded"], warm_up, 1)
        for number in range(1, rounds + 1):
            work = make_workload(
                models["ours"], num_interactions=INTERACTIONS_PER_ROUND, seed=number
            )
            rate, result = train_ours(models["ours"], work)
            first_turns["ours"].append(rate)
            done.append(result)
            first_turns["trl"].append(train_with_trl(models["trl"], work, Path(folder)))
            first_turns["padded"].append(train_padded(models["padded"], work, PADDED_PAIRS))
            if real_data is not None:
                work = read_prism_work(
                    models["ours"], real_data / "prism", num_pairs=PRISM_PAIRS, seed=number
                )
                rate, result = train_ours(models["ours"], work)
                prism["ours"].append(rate)
                done.append(result)
                prism["trl"].append(train_with_trl(models["trl"], work, Path(folder)))
    return _ratio_lines(first_turns, prism) + _share_lines(done)


def main() -> None:
    """Measure, and print a JSON line a figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")
    transformers_logging.set_verbosity_error()
    disable_progress_bars()
    for line in measure(arguments.rounds):
        print(line, flush=True)


def _padded_rewards(reward: LoadedModel, texts: TokenizedTexts, which: IntArray) -> torch.Tensor:
    """Return the rewards of some texts, padded to 512 tokens, with gradients."""
    ids = torch.full((len(which), PADDED_TOKENS), reward.tokenizer.pad_token_id)
    mask = torch.zeros_like(ids)
    for row, number in enumerate(which):
        tokens = torch.from_numpy(texts.tokens_of(number))
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    rewards: torch.Tensor = reward.model(input_ids=ids, attention_mask=mask).logits
    return rewards.squeeze(-1)


def _ratio_lines(first_turns: dict[str, list[float]], prism: dict[str, list[float]]) -> list[str]:
    """Return the lines of pairs per second against the other ways."""
    lines = []
    for rates, name, reach, figure, against in (
        (first_turns, "trl", ">= 4", "first turns of 4 responses", "TRL RewardTrainer"),
        (prism, "trl", ">= 2.2", "PRISM", "TRL RewardTrainer"),
        (
            first_turns,
            "padded",
            ">= 10",
            "first turns of 4 responses",
            "a loop that pads to 512 tokens and runs two passes",
        ),
    ):
        pairs = list(zip(rates["ours"], rates[name], strict=True))
        if not pairs:
            sys.stderr.write(f"{figure}: no data, set SCPO_DATA to the folder that has them\n")
            continue
        lines.append(
            ratio_line(
                f"training pairs/s, {figure}, ratio to {name}",
                [ours / other for ours, other in pairs],
                {"pairs_per_s": rates["ours"], f"{name}_pairs_per_s": rates[name]},
                reach=reach,
                against=against,
                on=machine("fp32"),
            )
        )
    return lines


def _share_lines(done: list[TrainingResult]) -> list[str]:
    """Return the lines of padding and of the time that the model takes of the loop."""
    shares = {
        "real tokens / padded tokens in training": (
            sum(result.real_tokens for result in done)
            / sum(result.padded_tokens for result in done),
            "1, no padding",
        ),
        "time in the model / time of the step loop": (
            sum(result.model_s for result in done) / sum(result.train_s for result in done),
            "1, nothing but the model",
        ),
    }
    return [
        figure_line(name, value, "fraction", reach=">= 0.95", against=against, on=machine("fp32"))
        for name, (value, against) in shares.items()
    ]


if __name__ == "__main__":
    main()
