"""Figures and files of curves: axes, direct labels and ticks that do not overlap, columns."""

import csv
from dataclasses import replace

import matplotlib
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from scpo.files.figure_style import save_figure
from scpo.method.arms import TRAINED_ARMS
from scpo.statistics.bootstrap import Interval
from sweeps.curves.output.curve_panels import (
    ARM_COLOURS,
    ARM_MARKERS,
    arm_marker,
    fit_heights,
    pick_ticks,
)
from sweeps.curves.output.figure import (
    curves_figure,
    layers_figure,
)
from sweeps.curves.output.files import write_curve_files, write_points
from sweeps.curves.points import curve_points, missing_curve, missing_layers
from sweeps.ledger.words import POOLED
from tests.sweeps.curves.worlds import make_point, make_world, power_truth

NO_PAIRS = Interval(None, None, None, 0)
COLUMNS = [
    "country", "arm", "budget", "seed", "num_seeds", "pairs_labelled", "pairs_trained",
    "accuracy", "low", "high", "pairs", "users", "distinctive", "distinctive_pairs",
    "consensus", "consensus_pairs", "global_accuracy", "length_accuracy",
]  # fmt: skip


@pytest.fixture(scope="module")
def points(records):
    return curve_points(records)


@pytest.fixture(scope="module")
def chile(points):
    return [point for point in points if point.country == "Chile"]


def curve_records(records, country: str = "Chile"):
    return [r for r in records if r.purpose == "curve" and r.country == country]


def test_csv_names_the_mean(tmp_path, points):
    write_points(points, tmp_path / "curves.csv")
    rows = list(csv.DictReader((tmp_path / "curves.csv").read_text().splitlines()))
    assert len(rows) == len(points)
    assert {row["seed"] for row in rows} == {"0", "1", "mean"}
    assert rows[0]["country"] == POOLED
    assert list(rows[0]) == COLUMNS
    chosen = next(row for row in rows if row["seed"] == "mean" and row["country"] == "Chile")
    point = next(p for p in points if p.seed is None and p.country == "Chile")
    assert float(chosen["accuracy"]) == pytest.approx(point.accuracy.value, abs=1e-6)


def test_figure_has_two_axes_and_a_label_for_each_line(chile):
    figure = curves_figure(chile)
    trained, labelled = figure.axes
    assert trained.get_xlabel() == "pairs trained on (log scale)"
    assert labelled.get_xlabel() == "pairs labelled (log scale)"
    assert trained.get_ylabel() == "accuracy, validation pairs"
    assert trained.get_xscale() == "log"
    names = {text.get_text() for text in labelled.texts}
    assert names == {"full", "scpo", "random_k", "global model", "longer wins"}
    assert trained.get_ylim() == labelled.get_ylim()
    assert trained.get_title(loc="left").startswith("Chile: ")


def test_the_pooled_row_comes_first(points):
    figure = curves_figure(points)
    assert len(figure.axes) == 2 * 4
    assert figure.axes[0].get_title(loc="left").startswith("All countries pooled: ")


def test_files_are_the_same_every_time_and_settings_come_back(tmp_path, chile):
    before = dict(matplotlib.rcParams)
    first = save_figure(curves_figure(chile), tmp_path / "one")
    second = save_figure(curves_figure(chile), tmp_path / "two")
    assert [path.name for path in first] == ["one.svg", "one.png"]
    assert first[0].read_bytes() == second[0].read_bytes()
    assert first[1].read_bytes() == second[1].read_bytes()
    assert first[1].read_bytes().startswith(b"\x89PNG")
    assert b"dc:date" not in first[0].read_bytes()
    assert dict(matplotlib.rcParams) == before


def test_one_user_has_no_band(records):
    solo = []
    for record in curve_records(records):
        cut = {
            name: getattr(record.evaluation, name).model_copy(
                update={
                    field: getattr(getattr(record.evaluation, name), field)[:1]
                    for field in ("users", "pairs", "correct")
                }
            )
            for name in ("by_user", "global_by_user")
        }
        evaluation = record.evaluation.model_copy(update=cut)
        solo.append(record.model_copy(update={"evaluation": evaluation}))
    points = curve_points(solo)
    assert {(p.accuracy.low, p.accuracy.high, p.users) for p in points} == {(None, None, 1)}
    assert not curves_figure(points).axes[0].collections


def test_too_few_budgets_are_refused_with_what_to_do(chile):
    with pytest.raises(ValueError, match=r"two budgets or more, but the run has none so far\."):
        curves_figure([])
    one = [point for point in chile if point.budget == 1.0]
    with pytest.raises(ValueError, match=r"but the run has only those at 1 so far\."):
        curves_figure(one)
    assert missing_curve(chile) is None


ARMS = ("full", "scpo", "random_k", "filter", "weight", "inverse", "user")
LONG = "The Democratic Republic of the Congo and all that was ever a part of it"


def crowded(num_budgets, num_seeds, arms=ARMS, **about):
    """Arms that end within a point of each other."""
    truth = {
        arm: power_truth(0.2, 1.5, 0.5, ratio=1 + number / 4) for number, arm in enumerate(arms)
    }
    budgets = [2.0**-k for k in reversed(range(num_budgets))]
    kept = {"scpo": 0.55, "random_k": 0.55, "filter": 0.6}
    return make_world(truth, budgets, num_seeds=num_seeds, kept=kept, num_users=12, **about)


def boxes_of(figure, texts):
    """Draw the figure, and return the boxes of texts that are shown, in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    shown = [text for text in texts if text.get_text() and text.get_visible()]
    renderer = canvas.get_renderer()
    return [Text.get_window_extent(text, renderer) for text in shown]  # without the leads


def overlapping(boxes):
    return [
        (one, other)
        for number, one in enumerate(boxes)
        for other in boxes[number + 1 :]
        if min(one.x1, other.x1) - max(one.x0, other.x0) > 0.5
        and min(one.y1, other.y1) - max(one.y0, other.y0) > 0.5
    ]


@pytest.mark.parametrize("draw", [curves_figure, layers_figure])
@pytest.mark.parametrize(("num_budgets", "num_seeds"), [(2, 1), (3, 5), (6, 5)])
def test_nothing_written_overlaps_or_is_cut(draw, num_budgets, num_seeds):
    figure = draw(crowded(num_budgets, num_seeds, country=LONG))
    texts = []
    for axes in figure.axes:
        ticks = axes.xaxis.get_ticklabels() if axes.get_xlabel() else []
        texts += [*axes.texts, *ticks, axes.xaxis.label, axes.yaxis.label, axes._left_title]
    texts += [figure._supxlabel]
    boxes = boxes_of(figure, texts)
    assert len(boxes) > 2 * (len(ARMS) + 2)
    assert overlapping(boxes) == []
    page = figure.bbox
    assert all(page.x0 <= box.x0 and box.x1 <= page.x1 for box in boxes)
    assert all(page.y0 <= box.y0 and box.y1 <= page.y1 for box in boxes)


@pytest.mark.parametrize("num_budgets", [2, 3, 6])
def test_ticks_are_the_numbers_of_pairs(num_budgets):
    trained, labelled = curves_figure(crowded(num_budgets, 1, arms=("full", "scpo"))).axes
    sizes = [f"{round(1000 / 2**k):,}" for k in reversed(range(num_budgets))]
    assert [text.get_text() for text in labelled.xaxis.get_majorticklabels()] == sizes
    assert set(sizes) <= {text.get_text() for text in trained.xaxis.get_majorticklabels()}
    assert labelled.xaxis.get_minorticklocs().size == 0
    assert labelled.get_xscale() == "log"


def test_arms_that_train_on_one_number_of_pairs_stand_above_it():
    points = [
        make_point("random_k", budget, None, [9, 9], [4 + 4 * budget] * 2, labelled=80 * budget,
                   trained=20)
        for budget in (0.5, 1.0)
    ]  # fmt: skip
    points = [replace(point, seed=seed) for point in points for seed in (0, None)]
    trained, labelled = curves_figure(points).axes
    assert [text.get_text() for text in trained.xaxis.get_majorticklabels()] == ["20"]
    assert len(labelled.xaxis.get_majorticklabels()) == 2
    assert "random_k" in {text.get_text() for text in trained.texts}


def test_a_fit_ends_at_twice_the_pairs_and_is_dashed_beyond_the_last():
    points = make_world({"full": power_truth(0.1, 2, 0.5)}, (0.125, 0.25, 0.5, 1.0), num_seeds=5)
    labelled = curves_figure(points).axes[1]
    dashed = [
        line
        for line in labelled.lines
        if line.get_linestyle() == "--" and len(line.get_xdata()) > 2
    ]
    (beyond,) = dashed
    assert (beyond.get_xdata()[0], beyond.get_xdata()[-1]) == pytest.approx((1000, 2000))
    solid = [x for x in labelled.lines if x.get_linestyle() == "-" and len(x.get_xdata()) > 99]
    assert solid[0].get_xdata()[-1] == pytest.approx(1000)


def test_colours_and_markers_are_told_apart_by_the_colour_blind_and_in_grey():
    assert set(ARM_COLOURS) == set(TRAINED_ARMS)
    markers = [arm_marker(arm) for arm in ARM_COLOURS]
    assert len(set(markers)) == len(markers)
    assert set(ARM_MARKERS) <= set(ARM_COLOURS)
    rgb = [to_rgb(colour) for colour in ARM_COLOURS.values()]
    seen = [(0.57 * r + 0.43 * g, b) for r, g, b in rgb]  # as without green, roughly
    assert (
        min(
            abs(one[0] - other[0]) + abs(one[1] - other[1])
            for number, one in enumerate(seen)
            for other in seen[number + 1 :]
        )
        > 0.12
    )


@pytest.mark.parametrize(
    ("wanted", "ticks"),
    [
        ([100, 50, 25], [25, 50, 100]),
        ([100, 99, 50], [50, 100]),  # the first of two neighbours stands
        ([100], [100]),
        ([100, 100], [100]),
    ],
)
def test_ticks_keep_their_distance(wanted, ticks):
    assert pick_ticks(wanted, 20.0, 110.0) == ticks


@pytest.mark.parametrize(
    ("wanted", "heights"),
    [
        ([0.5, 0.52], [0.46, 0.56]),
        ([0.99, 1.0], [0.9, 1.0]),  # pushed down from the top
        ([0.0, 0.0], [0.1, 0.0]),
        ([], []),
    ],
)
def test_labels_stay_in_their_panel(wanted, heights):
    assert fit_heights(wanted, 0.1, 0.0, 1.0) == pytest.approx(heights)


def test_layers_need_distinctive_pairs(points):
    agreed = [replace(point, distinctive=NO_PAIRS, distinctive_pairs=0) for point in points]
    assert missing_layers(points) is None
    with pytest.raises(ValueError, match="No validation pair is distinctive"):
        layers_figure(agreed)
    with pytest.raises(ValueError, match="two budgets or more"):
        layers_figure([])


def test_layers_have_their_rows_and_sizes(chile):
    figure = layers_figure(chile)
    assert len(figure.axes) == 4
    first = chile[0]
    title = f"Chile: {first.consensus_pairs} consensus and {first.distinctive_pairs} distinctive"
    assert figure.axes[0].get_title(loc="left") == f"{title} pairs, 2 seeds"
    names = [axes.get_ylabel() for axes in figure.axes]
    assert names == ["accuracy, consensus", "", "accuracy, distinctive", ""]
    line = next(x for x in figure.axes[3].lines if len(x.get_xdata()) == 4)
    means = [p for p in chile if p.arm == "full" and p.seed is None]
    assert line.get_ydata().tolist() == [p.distinctive.value for p in means]


def test_all_files_of_a_run(tmp_path, chile):
    rows, paths = write_curve_files(chile, tmp_path, target=0.6)
    names = {path.name for path in paths}
    assert names == {
        "curves.csv", "curve_summary.csv", "curves.tex", "curves.svg", "curves.png",
        "curve_layers.svg", "curve_layers.png",
    }  # fmt: skip
    assert {path.name for path in tmp_path.iterdir()} == names
    assert {row["target_of"] for row in rows} == {"full", "given"}


def test_without_curves_there_are_tables_only(tmp_path):
    rows, paths = write_curve_files([], tmp_path)
    assert rows == []
    assert [path.name for path in paths] == ["curves.csv", "curve_summary.csv", "curves.tex"]
    header = (tmp_path / "curves.csv").read_text().splitlines()
    assert header == [",".join(COLUMNS)]
