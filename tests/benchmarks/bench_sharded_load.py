"""What a rank holds of a model that ranks divide: while they load it, and while they export it.

A Llama of 400 million random weights lies in four safetensors files and goes to four ranks by
ZeRO-3. Counted is each rank's own memory (RssAnon), polled, above what it holds once everything is
imported; pages of the mapped files are shared by all ranks of a node and in no rank's own memory.
"""

import argparse
import json
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from figures import figure_line, machine
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast
from workload import run_ranks

from scpo.tokens.encoding import encode_texts

NUM_RANKS = 4
LAYERS = 28
SPARE_MB = 200.0
FILE_BYTES = 400_000_000


def save_llama(folder: Path, layers: int) -> float:
    """Write the model and return its megabytes in float32."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32_000,
        hidden_size=1024,
        intermediate_size=2816,
        num_hidden_layers=layers,
        num_attention_heads=16,
        num_labels=1,
        pad_token_id=0,
    )
    model = LlamaForSequenceClassification(config)
    model.save_pretrained(folder, max_shard_size=FILE_BYTES)
    words = {"[PAD]": 0, "[UNK]": 1, **{f"w{number}": number + 2 for number in range(50)}}
    PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="[UNK]")),
        pad_token="[PAD]",
        unk_token="[UNK]",
    ).save_pretrained(folder)
    return sum(weight.numel() for weight in model.parameters()) * 4 / 1e6


def own_mb() -> float:
    """Return this process's own memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return float(line.split()[1]) / 1e3
    raise RuntimeError("This kernel does not tell RssAnon.")


class Peak:
    """The most that a process held of its own, since the last look, above its start."""

    def __init__(self) -> None:
        self.start = self.most = own_mb()
        threading.Thread(target=self._poll, daemon=True).start()

    def look(self) -> float:
        """Return the peak and begin anew."""
        most, self.most = self.most - self.start, 0.0
        return most

    def _poll(self) -> None:
        wait = threading.Event().wait
        while not wait(0.005):
            self.most = max(self.most, own_mb())


def run_rank(model: Path, out: Path) -> dict[str, float]:
    """Load, score and export as one rank; return its peaks in megabytes."""
    import deepspeed

    from scpo.distributed.deepspeed_engine import DeepSpeedEngine
    from scpo.distributed.deepspeed_internals import skip_compilation
    from scpo.distributed.ray_training import load_everywhere
    from scpo.distributed.sharded_scoring import ShardedScorer, rewards_of_all
    from scpo.models.export.model_folder import export_reward_model
    from scpo.models.model_source import find_model
    from scpo.models.reward_model import fresh_model
    from scpo.models.training_memory import size_of_file
    from scpo.training.forward_passes import model_inputs

    torch.set_num_threads(1)
    skip_compilation()
    deepspeed.init_distributed(dist_backend="gloo", verbose=False)
    cpu, peak = torch.device("cpu"), Peak()
    base = load_everywhere(find_model(model), trust_remote_code=False)
    num_weights = sum(weight.numel() for weight in base.model.parameters())
    scorer = ShardedScorer(fresh_model(base, cpu, stays_mapped=True), cpu, "fp32")
    peaks = {"load_mb": peak.look()}
    prompts = [f"w{number} w{number + 1}" for number in range(4)]
    texts = encode_texts(base.tokenizer, prompts, ["w7 w8"] * 4, max_tokens=16)
    expected = rewards_of_all(scorer, texts, model_inputs(base))
    peaks["score_mb"] = peak.look()
    seen = SimpleNamespace(engine=scorer.engine, zero_stage=3, rank=scorer.rank)
    weights: Iterator[tuple[str, torch.Tensor]] = DeepSpeedEngine.weights(seen)  # type: ignore[arg-type]
    if scorer.rank == 0:
        export_reward_model(
            scorer.reward,
            out,
            texts=texts,
            expected=np.asarray(expected),
            weights=weights,
            file_bytes=size_of_file(num_weights, NUM_RANKS),
        )
    else:
        for _ in weights:
            pass
    torch.distributed.barrier()
    return peaks | {"export_mb": peak.look()}


def main() -> None:
    """Measure and print the lines, or run as one rank."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--layers", type=int, default=LAYERS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.model is not None:
        print(json.dumps(run_rank(arguments.model, arguments.out)))
        return
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        whole_mb = save_llama(model, arguments.layers)
        command = [__file__, "--model", str(model), "--out", str(Path(folder) / "out")]
        peaks = run_ranks(command, NUM_RANKS)
    for what in ("load", "export"):
        most = max(rank[f"{what}_mb"] for rank in peaks)
        print(
            figure_line(
                f"peak of a rank of {NUM_RANKS} beyond {SPARE_MB:.0f} MB, to {what}",
                max(0.0, most - SPARE_MB) / whole_mb,
                "of the whole model",
                reach="<= 0.45",
                against="the whole model in float32",
                on=machine("fp32"),
                detail={"peak_mb": most, "whole_mb": whole_mb},
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
