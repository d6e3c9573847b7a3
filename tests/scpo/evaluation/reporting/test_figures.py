import re

import pytest

from scpo.evaluation.reporting.figures import (
    draw_evaluation,
    knob_figure,
    length_figure,
    reliability_figure,
)
from scpo.evaluation.reporting.matrix_figure import AGAINST_GLOBAL, matrix_figure
from scpo.evaluation.tables import evaluate_models
from scpo.files.figure_style import BLUE, VERMILLION, save_figure


@pytest.fixture(scope="module")
def scores(scored_countries):
    return scored_countries(("Chile", "South Africa"), arms=("scpo",))


@pytest.fixture(scope="module")
def tables(scores, few_resamples):
    return evaluate_models(scores)


def texts_of(axes):
    return [text.get_text() for text in axes.texts]


def test_the_matrix_carries_its_numbers_and_frames_the_own_country(tables):
    figure = matrix_figure(tables, "scpo")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "global model",
        "Chile",
        "South Africa",
    ]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["Chile", "South\nAfrica"]
    cells = {(row["model"], row["country"]): row for row in tables["matrix"]}
    cell = cells["Chile/scpo", "South Africa"]
    expected = f"{100 * cell['accuracy']:.0f} %\n{100 * cell['against_global']:+.1f}"
    assert texts_of(axes)[3] == expected  # second row, second column
    assert len(texts_of(axes)) == 6
    assert len(axes.lines) == 2  # a frame for each country at home
    image = axes.images[0].get_array()
    assert image[1, 1] == pytest.approx(cell["against_global"])
    assert image[0].tolist() == [0.0, 0.0]
    assert axes.images[0].get_clim()[0] == -axes.images[0].get_clim()[1]


def test_colours_of_the_matrix_are_for_the_colour_blind():
    ends = [AGAINST_GLOBAL(share) for share in (0.0, 0.5, 1.0)]
    as_hex = ["#" + "".join(f"{round(255 * part):02x}" for part in end[:3]) for end in ends]
    assert (as_hex[0], as_hex[2]) == (VERMILLION, BLUE)
    assert min(ends[1][:3]) > 0.98


def test_reliability_has_a_panel_an_arm_with_a_point_a_bin(tables):
    figure = reliability_figure(tables)
    titles = [axes.get_title(loc="left").split(":")[0] for axes in figure.axes]
    assert titles == ["global", "scpo"]  # length has no probabilities
    rows = [
        row for row in tables["reliability"] if (row["country"], row["arm"]) == ("pooled", "scpo")
    ]
    line = figure.axes[1].lines[-1]
    assert line.get_xdata().tolist() == [row["confidence"] for row in rows]
    assert line.get_ydata().tolist() == [row["right"] for row in rows]
    assert figure.axes[0].get_xlabel() == "confidence sigmoid(|r+ - r-|)"
    assert figure.axes[0].get_ylabel() == "share chosen"
    assert "All countries pooled: 108 pairs" in figure.get_suptitle()


def test_the_knob_shows_layers_and_what_validation_prefers(tables):
    figure = knob_figure(tables, "scpo")
    shares = {row["country"]: row["share"] for row in tables["knob_choice"]}
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == [
        "All countries pooled",
        f"Chile: validation prefers s = {shares['Chile']:.2f}",
        f"South Africa: validation prefers s = {shares['South Africa']:.2f}",
    ]
    assert texts_of(figure.axes[1]) == ["overall", "distinctive", "consensus"]
    overall = figure.axes[1].lines[0]
    accuracies = [
        row["accuracy"]
        for row in tables["knob"]
        if (row["country"], row["part"], row["layer"]) == ("Chile", "test", "overall")
    ]
    assert list(overall.get_ydata()) == accuracies
    assert figure.axes[0].get_ylabel() == "accuracy, test pairs"
    assert figure.axes[2].get_xlabel() == "s (0: global model, 1: scpo)"


def test_length_has_a_line_an_arm(tables):
    axes = length_figure(tables).axes[0]
    assert texts_of(axes) == ["global", "scpo"]
    assert len(axes.get_xticklabels()) == 10
    assert axes.get_ylabel() == "accuracy"


def test_files_are_svg_and_png_and_the_same_twice(tables, tmp_path):
    paths = draw_evaluation(tables, tmp_path / "one")
    names = sorted(path.name for path in paths)
    stems = ["knob-scpo", "length", "matrix-scpo", "reliability"]
    assert names == sorted(f"{stem}.{kind}" for stem in stems for kind in ("png", "svg"))
    for again in save_figure(matrix_figure(tables, "scpo"), tmp_path / "two" / "matrix-scpo"):
        assert again.read_bytes() == (tmp_path / "one" / again.name).read_bytes()
    svg = (tmp_path / "one" / "matrix-scpo.svg").read_text()
    assert re.search(r"points against the global model", svg)


def test_one_country_and_models_for_all_draw_what_there_is(scored_countries, tmp_path):
    arms = ("a/b c", "a_b_c", "A_B_C", "日本", "x" * 80)
    scores = scored_countries(("Chile",), arms=arms, parts=("test",))
    paths = draw_evaluation(evaluate_models(scores), tmp_path)
    stems = {path.stem.casefold() for path in paths}
    assert {"reliability", "length", "matrix-a_b_c", "knob-a_b_c"} <= stems
    assert len(stems) == 2 + 2 * len(arms) == len(paths) / 2  # each arm has its own
    assert all(path.parent == tmp_path for path in paths)
    with pytest.raises(ValueError, match="A heatmap needs countries' models, but none has"):
        matrix_figure(evaluate_models(scores), "scpo")
