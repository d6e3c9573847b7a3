"""Users that trained a model never test it: who they were, by the model's folder.

`scpo train` and `scpo train-global` leave a hash of each user in the folder's marker; for a final
model of a sweep the run's `split.json` has them.
"""

from collections.abc import Iterable
from pathlib import Path

from scpo.data.splits import SPLIT_FILE, name_users, read_split
from scpo.files.atomic import read_marker


def refuse_trained_users(label: str, folder: Path, testers: Iterable[str]) -> None:
    """Refuse to judge a model by users that trained it.

    Args:
        label: Names the model in the message.
        folder: Its folder; one that does not say who trained it is let pass.
        testers: Users whose pairs judge it.

    Raises:
        ValueError: Some of them trained it.
    """
    trained = _trained_users(folder)
    both = sorted(user for user in set(testers) if trained.intersection(name_users([user])))
    if both:
        raise ValueError(
            f"{label}: {len(both)} users who judge it trained it ({', '.join(both[:3])}), so "
            f"{folder} cannot be judged by these data. Judge it by the data folder that it was "
            f"trained on, which keeps its {SPLIT_FILE}, or train it anew."
        )


def _trained_users(folder: Path) -> set[str]:
    """Return hashes of the users that trained a model, none where its folder does not say."""
    named = set(read_marker(folder).get("trained_on", ()))
    split = folder.parent.parent / SPLIT_FILE
    if named or folder.parent.name != "models" or not split.is_file():
        return named
    return set(name_users(user for user, part in read_split(split).items() if part == "train"))
