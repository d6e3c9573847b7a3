"""A whole study on made-up cultures with a tiny model: heads, lanes, page, and going on."""

import csv
from pathlib import Path

import pytest
import yaml

from scpo.config import SyntheticConfig
from scpo.data.sources.synthetic import make_synthetic
from sweeps.ledger.words import HEAD_ARMS, USER
from sweeps.research.run_study import read_wall, require_files, run_study
from sweeps.research.study.study_config import StudyConfig
from sweeps.research.study_page.study_page import refuse_other_page

SYNTHETIC = {"num_countries": 3, "users_per_country": 6, "interactions_per_user": 2}
HEADS = {"num_settings": 4, "inner_folds": 2, "l2": [0.1]}
ARMS = tuple(arm for arm in HEAD_ARMS if arm != USER)  # its users are too few to be weighed


def write_survey(path: Path) -> Path:
    """24 questions to two countries, in words that the tiny model knows."""
    said = make_synthetic(
        SyntheticConfig(num_countries=1, users_per_country=12, interactions_per_user=2)
    )
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "selections", "options"])
        for number, row in enumerate(said.interactions.to_pylist()):
            chile = [0.1 + 0.03 * number, 0.9 - 0.03 * number]  # no tie
            shares = f"defaultdict(<class 'list'>, {{'Chile': {chile}, 'Peru': [0.4, 0.6]}})"
            options = list(dict.fromkeys(row["responses"]))[:2]
            writer.writerow([f"{row['prompt']} {number}", shares, str(options)])
    return path


def write_study(folder: Path, backbone: Path, **changes) -> Path:
    """A study of one data set by heads, one of opinions, and one fine-tuned."""
    survey = write_survey(folder / "survey.csv")
    made = {"source": "synthetic", "synthetic": SYNTHETIC}
    sweep = {
        "name": "tiny",
        "countries": ["Arvandia", "Belmora"],
        "data": made,
        "global_model": {"backbone": str(backbone), "learning_rate": 1e-3, "max_pairs": 40},
        "encoder": {"max_tokens": 96},
        "training": {"pairs_per_step": 16, "learning_rate": 1e-3, "precision": "fp32"},
        "lanes": {"num_lanes": 1},
    }
    encoder = {"max_tokens": 96}
    study = {
        "name": "tiny",
        "seeds": [0, 1],
        "folds": 2,
        "tuned_folds": 2,
        "backbone": str(backbone),
        "precision": "fp32",
        "files": [str(survey)],
        "frozen": {
            "made": {
                "title": "Made",
                "data": made,
                "unit": "user",
                "min_units": 6,
                "pool": "others",
                "encoder": encoder,
                "heads": HEADS,
            },
            "asked": {
                "title": "Asked",
                "data": {"source": "opinions", "path": str(survey)},
                "unit": "question",
                "min_units": 6,
                "pool": "others",
                "has_shares": True,
                "encoder": encoder,
                "heads": HEADS,
            },
        },
        "fine_tuned": {"tuned": {"title": "Tuned", "sweep": "sweep.yaml", "heads": HEADS}},
        **changes,
    }
    (folder / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    (folder / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    return folder / "study.yaml"


def test_missing_files_are_named(tiny_backbone: Path, tmp_path: Path) -> None:
    there, gone = tmp_path / "there", tmp_path / "gone"
    there.touch()
    config = StudyConfig(name="x", backbone=str(tiny_backbone), files=(str(there), str(gone)))
    with pytest.raises(FileNotFoundError, match=rf"does not find {gone}\. .*make study DATA="):
        require_files(config)


def test_a_page_that_no_study_wrote_stays(tmp_path: Path) -> None:
    page = tmp_path / "notes.md"
    refuse_other_page(page)
    page.touch()
    refuse_other_page(page)
    page.write_text("# Study: every arm on real data\n")
    refuse_other_page(page)
    page.write_text("# Notes\n")
    with pytest.raises(ValueError, match=r"notes\.md is no page of a study, so it is not written"):
        refuse_other_page(page)
    with pytest.raises(ValueError, match="is no page of a study"):
        refuse_other_page(tmp_path)


def test_heads_of_every_arm_and_going_on(tiny_backbone: Path, tmp_path: Path) -> None:
    file, run, said = write_study(tmp_path, tiny_backbone), tmp_path / "run", []
    with pytest.raises(ValueError, match=r"Data sets must be of made, asked, tuned, but got"):
        run_study(file, run, said.append, only=("other",))
    (result,) = run_study(file, run, said.append, only=("asked",), workers=1)
    assert {row.arm for row in result.rows} == {"global", "length", *ARMS}
    assert {row.country for row in result.rows} == {"pooled", "Chile", "Peru"}
    whole = [row for row in result.rows if row.country == "pooled"]
    assert {(row.users, row.pairs) for row in whole} == {(24, 48)}
    text = (run / "STUDY.md").read_text()
    assert "**Not done yet:** Made, Tuned." in text
    assert "| average of others |" in text
    first, clock = (run / "asked" / "cells" / "chile.json").stat(), read_wall(run / "asked")
    made, again = run_study(file, run, said.append, only=("made",), workers=1)
    assert (made.name, again.rows) == ("made", result.rows)
    assert (run / "asked" / "cells" / "chile.json").stat() == first
    assert read_wall(run / "asked") > clock
    noted = write_study(tmp_path, tiny_backbone, note="Read with care.")
    run_study(noted, run, said.append, only=("asked",), workers=1)
    assert "Read with care." in (run / "STUDY.md").read_text()
    other = write_study(tmp_path, tiny_backbone, seeds=[5])
    with pytest.raises(ValueError, match="a run has one configuration"):
        run_study(other, run, said.append)


@pytest.mark.exhaustive
def test_a_whole_study_with_lanes_cut_off_and_gone_on(
    cluster: None, tiny_backbone: Path, tmp_path: Path
) -> None:
    file, run, said = write_study(tmp_path, tiny_backbone), tmp_path / "run", []
    page = tmp_path / "STUDY.md"
    results = run_study(file, run, said.append, page=page, workers=1)
    assert [result.name for result in results] == ["made", "asked", "tuned"]
    tuned = results[-1]
    assert {row.arm for row in tuned.rows} == {"global", "length", *ARMS}
    assert {row.num_seeds for row in tuned.rows if row.arm in ARMS} == {2}
    assert {row.users for row in tuned.rows if row.country == "pooled"} == {12}
    assert tuned.failed == 0
    ledger = run / "tuned" / "trials.jsonl"
    lines = ledger.read_text().splitlines(keepends=True)
    assert len(lines) == 2 * 2 * 2 * len(ARMS)  # countries, seeds, folds
    assert "Not done yet" not in page.read_text()
    (ledger.parent / "trials.end.json").unlink()  # it is written after the line
    ledger.write_text("".join(lines[:-1]) + lines[-1][:50])  # a kill in the middle of a line
    again = run_study(file, run, said.append, page=page, workers=1)
    assert f"fine-tuning: 1 of {len(lines)} trainings to do" in said
    assert again[-1].rows == tuned.rows
