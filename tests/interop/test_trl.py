"""TRL: RewardTrainer goes on from an export, GRPO and RLOO are rewarded by one."""

from pathlib import Path
from types import ModuleType
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

import scpo
from tests.dialogues import ANSWERS, COMPLETIONS, PLAIN, PROMPTS, SAID, TURNS
from tests.interop.conftest import Exports, assert_equal, our_rewards, require
from tests.scpo.conftest import VOCABULARY, make_chat_tokenizer

QUIET: dict[str, Any] = {
    "report_to": [],
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "per_device_train_batch_size": 16,
    "max_steps": 1,
    "save_strategy": "no",
    "disable_tqdm": True,
}


@pytest.fixture(scope="module")
def trl() -> ModuleType:
    return require("trl")


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model that says anything, with words that the rewards know."""
    folder = tmp_path_factory.mktemp("policy")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        pad_token_id=0,
        bos_token_id=VOCABULARY["<bos>"],
        eos_token_id=VOCABULARY["<eos>"],
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    make_chat_tokenizer().save_pretrained(folder)
    return folder


def rewards_in_training(
    library: ModuleType, method: str, policy: Path, reward: Path, prompts: list[Any], out: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Train one step with a folder and with its callable; return the rewards of either."""
    args = getattr(library, f"{method}Config")(
        output_dir=str(out), num_generations=2, max_completion_length=6, **QUIET
    )
    trainer = getattr(library, f"{method}Trainer")(
        model=str(policy),
        reward_funcs=[str(reward), scpo.RewardModel.from_pretrained(reward)],
        args=args,
        train_dataset=datasets.Dataset.from_dict({"prompt": prompts}),
        processing_class=AutoTokenizer.from_pretrained(policy),
    )
    trainer.train()
    logged = trainer._logs["rewards"]
    assert list(logged) == [reward.name, "scpo_reward"]
    as_model, as_function = (np.array(logged[name]) for name in logged)
    assert len(as_model) == 16
    assert np.ptp(as_function) > 0.01
    return as_model, as_function


@pytest.mark.parametrize("method", ["GRPO", "RLOO"])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "deberta"])
def test_policies_get_our_rewards_by_folder_and_by_callable(
    trl: ModuleType, exports: Exports, policy: Path, tmp_path: Path, kind: str, method: str
) -> None:
    as_model, as_function = rewards_in_training(
        trl, method, policy, exports(kind), PLAIN[:4] + TURNS[4:], tmp_path
    )
    assert_equal(as_model, as_function)


@pytest.mark.parametrize(
    ("kind", "prompts", "said"),
    [
        ("bert", PLAIN, "the token types are lost"),
        ("llama", SAID, "Prompts that are plain text"),
        ("deberta", SAID, "without separators"),
    ],
)
def test_what_a_folder_cannot_say_stands_in_its_card(
    trl: ModuleType,
    exports: Exports,
    policy: Path,
    tmp_path: Path,
    kind: str,
    prompts: list[Any],
    said: str,
) -> None:
    as_model, as_function = rewards_in_training(
        trl, "GRPO", policy, exports(kind), prompts, tmp_path
    )
    assert np.abs(as_model - as_function).max() > 1e-4
    assert said in (exports(kind) / "README.md").read_text()


@pytest.mark.parametrize("kind", ["llama", "qwen2", "deberta"])
def test_the_reward_trainer_goes_on_from_ours_and_we_from_its(
    trl: ModuleType, exports: Exports, tmp_path: Path, kind: str
) -> None:
    pairs = {
        "prompt": PROMPTS,
        "chosen": COMPLETIONS,
        "rejected": [[{"role": "assistant", "content": text}] for text in ANSWERS[::-1] * 2],
    }
    trainer = trl.RewardTrainer(
        model=str(exports(kind)),
        args=trl.RewardConfig(output_dir=str(tmp_path / "trainer"), learning_rate=0.1, **QUIET),
        train_dataset=datasets.Dataset.from_dict(pairs),
    )
    batch = trainer.data_collator([trainer.train_dataset[n] for n in range(len(PROMPTS))])
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}

    def rewards_there() -> np.ndarray:
        with torch.no_grad():
            return trainer.model.eval()(**inputs).logits[: len(PROMPTS), 0].numpy()

    ours = our_rewards(exports(kind))
    assert_equal(rewards_there(), ours)
    trainer.train()
    trainer.save_model(str(tmp_path / "continued"))
    continued = our_rewards(tmp_path / "continued")
    assert_equal(rewards_there(), continued)
    assert np.abs(continued - ours).max() > 0.01
