"""Train one country's reward model in this process, and judge it on users who were held out."""

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from scpo.api.models import RewardModel
from scpo.api.preferences import Preferences
from scpo.config import EncoderConfig, TrainingConfig, parse_config
from scpo.countries.one_country import CountryTraining, ready_training
from scpo.countries.scoring import score_pairs
from scpo.data.interactions import hash_interactions
from scpo.data.reading.countries import one_names
from scpo.data.splits import SIDES, name_users
from scpo.evaluation.held_out import evaluate_margins
from scpo.files.output_folder import output_folder
from scpo.files.places import home, local_folder
from scpo.method.weighting import PAPER_BETA, PAPER_TAU
from scpo.models.loading import load_reward_model
from scpo.models.model_source import find_model
from scpo.models.reward_model import content_hash
from scpo.training.fit import fit_on_device
from scpo.training.loop import Progress


def train(
    data: Preferences | str | Path,
    country: str,
    global_model: RewardModel | str | Path,
    *,
    arm: str = "scpo",
    tau: float = PAPER_TAU,
    beta: float = PAPER_BETA,
    out: str | Path | None = None,
    part: str = "validation",
    settings: Mapping[str, Any] | None = None,
    report: Callable[[Progress], None] | None = None,
) -> RewardModel:
    """Train the reward model of one country on the GPU or, without one, the CPU.

    Users are divided into train, validation and test by their ids, as `scpo train` does. The
    global model's rewards are kept in SCPO_HOME (~/.cache/scpo), so that another arm of the same
    data scores nothing again.

    Args:
        data: Preferences, or a folder that `scpo prepare` wrote.
        country: Whose model, by any of its names.
        global_model: The model that it continues: its folder, hub name or URI, or one loaded
            from there.
        arm: full, filter, weight, inverse, scpo, random_k or user.
        tau: Filter threshold, above 0, at most 1.
        beta: Weighting temperature, above 0.
        out: Folder of the trained model; None to keep it in memory alone.
        part: Whose pairs judge the model. Look at "test" once.
        settings: Of the training (`learning_rate`, `epochs`, `lora`, ...; see
            `scpo.config.TrainingConfig`) and `max_tokens` and `overlong`; of the arm user
            `user_strength` too, else 1, or 0.5 below 30 users.
        report: Called after every step.

    Returns:
        The model; its `evaluation` has accuracies with intervals by user, those of the global
        model and of "longer response wins" on the same pairs, and the counts behind them.

    Raises:
        FileNotFoundError: No such data or model.
        ValueError: The country is absent or too small, a setting is out of range, no pair is
            kept, or `out` holds something else.
        scpo.training.checkpoints.TrainingStopped: The loss or a weight is not finite.

    Example:
        >>> row = {"prompt": "a", "chosen": "good", "rejected": "bad", "country": "Peru"}
        >>> rows = [row | {"prompt": f"a b {n}", "user": f"u{n % 8}"} for n in range(32)]
        >>> data = scpo.Preferences.from_records(rows)
        >>> settings = {"learning_rate": 1e-3, "max_tokens": 32}
        >>> model = scpo.train(data, "Peru", folder, arm="full", settings=settings)
        >>> model.country, model.evaluation["overall"]["pairs"]
        ('Peru', 4)

    Reference:
        SCPO, arXiv 2606.18606, section 3.
    """
    name = _name_of(global_model)
    _check_arguments(data, country, part)
    encoder, training, user_strength = _read_settings(settings or {}, arm)
    if out is not None:
        out = local_folder(out)
    devices = range(torch.cuda.device_count())
    with (
        TemporaryDirectory(prefix="scpo-train-") as temporary,
        torch.random.fork_rng(devices),  # the caller's draws go on as if nothing had been
        torch.inference_mode(False),
        torch.enable_grad(),
    ):
        folder = data.save(Path(temporary) / "data") if isinstance(data, Preferences) else data
        model = Path(temporary) / "model" if out is None else out
        earlier = {
            "data": hash_interactions(Path(folder)),
            "global_model": name,
            "setting": [country, arm, tau, beta],
            "settings": dict(settings or {}),
        }
        made_from = {
            **earlier,
            "global_model": content_hash(name),
            "setting": [*one_names([country]), arm, tau, beta],
        }
        with output_folder(
            model,
            "model",
            made_from,
            earlier=earlier,
            overwrite=None,
            replaced=True,
            keep=[folder, name],
        ) as marker:
            ready = ready_training(
                Path(folder),
                name,
                country,
                cache=home() / "rewards",
                encoder=encoder,
                training=training,
                arm=arm,
                tau=tau,
                beta=beta,
                user_strength=user_strength,
            )
            fit_on_device(ready.reward, ready.pairs, training, out=model, report=report)
            marker["trained_on"] = name_users(ready.users)
        return _read_back(model, ready, part, is_kept=out is not None)


def _check_arguments(data: object, country: object, part: str) -> None:
    """Refuse what would be refused after hours.

    Raises:
        ValueError: An argument is of another kind, or there is no such part.
    """
    if not isinstance(data, Preferences | str | Path):
        raise ValueError(
            f"data must be Preferences or a folder, but is a {type(data).__name__}. Read it by "
            "Preferences.from_pandas, from_records or from_dataset."
        )
    if not isinstance(country, str):
        raise ValueError(f"country must be one country's name, but got {country!r:.40}.")
    if part not in SIDES:
        raise ValueError(f"part must be one of {', '.join(SIDES)}, but got {part!r}.")


def _read_settings(
    settings: Mapping[str, Any], arm: str
) -> tuple[EncoderConfig, TrainingConfig, float | None]:
    """Return how texts become tokens, the training, and the strength of users' weights if given.

    Raises:
        ValueError: A setting is unknown, out of range, or of another arm.
    """
    given = dict(settings)
    of_texts: dict[str, Any] = {
        name: given.pop(name) for name in ("max_tokens", "overlong") if name in given
    }
    strength = given.pop("user_strength", None)
    if strength is not None and arm != "user":
        raise ValueError(f"user_strength in `settings` is of the arm user, but got arm={arm!r}.")
    if strength is not None and not isinstance(strength, int | float):
        raise ValueError(f"user_strength in `settings` must be a number, but got {strength!r}.")
    encoder = parse_config(EncoderConfig, of_texts, "settings")
    return encoder, parse_config(TrainingConfig, given, "settings"), strength


def _name_of(global_model: RewardModel | str | Path) -> str:
    if not isinstance(global_model, RewardModel):
        return str(global_model)
    if global_model.source is None:
        raise ValueError(
            f"The global model {global_model} must lie in a folder. Write it there first, by "
            "save_pretrained(FOLDER)."
        )
    return str(global_model.source)


def _read_back(model: Path, ready: CountryTraining, part: str, *, is_kept: bool) -> RewardModel:
    """Return the model that was written, on the device of the training, judged."""
    source = find_model(model)
    loaded = load_reward_model(source).to(ready.reward.model.device)
    which = ready.country.pairs_in(part)
    margins = score_pairs(loaded, ready.country, which, precision="fp32")
    evaluation = evaluate_margins(margins, ready.country, part)
    return RewardModel(loaded, source=source if is_kept else None, evaluation=evaluation)
