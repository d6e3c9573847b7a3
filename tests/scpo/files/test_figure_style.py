import pytest
from matplotlib.figure import Figure

from scpo.files import figure_style
from scpo.files.figure_style import save_figure, show_percent, spread_positions


@pytest.mark.parametrize(
    ("positions", "expected"),
    [
        ([], []),
        ([5.0], [5.0]),
        ([0.0, 3.0], [0.0, 3.0]),
        ([0.0, 0.5], [-0.25, 0.75]),  # moved apart by the same amount
        ([1.0, 1.0], [1.5, 0.5]),  # of equals the first is highest
        ([0.0, 0.0, 0.0, 9.0], [1.0, 0.0, -1.0, 9.0]),
        ([0.0, 0.8, 1.6], [-0.2, 0.8, 1.8]),  # a block that grows pushes its neighbour
        ([3.0, 0.0], [3.0, 0.0]),
    ],
)
def test_labels_move_apart_as_little_as_needed(positions, expected):
    assert spread_positions(positions, 1.0) == pytest.approx(expected)


def test_letters_that_no_font_has_are_told_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(figure_style, "_FONTS_OF_OTHER_LETTERS", ())
    figure_style._tell_missing_letters.cache_clear()
    for name in ("中国", "日本"):
        figure = Figure()
        figure.text(0.5, 0.5, name)
        svg, _ = save_figure(figure, tmp_path / "figure")
        assert name in svg.read_text()  # a browser finds a font
    assert [record.message[:24] for record in caplog.records] == ["A name has letters that "]


@pytest.mark.parametrize("ends", [(0.523, 0.71), (0.62, 0.645), (0.0, 1.0), (0.81, 0.925)])
def test_a_percentage_at_a_tick_is_the_tick(ends):
    axes = Figure(figsize=(4, 2.2)).subplots()
    show_percent(axes.yaxis)
    axes.set_ylim(*ends)
    ticks = axes.yaxis.get_majorticklocs()
    labels = axes.yaxis.get_major_formatter().format_ticks(ticks)
    assert [float(label.removesuffix(" %")) / 100 for label in labels] == pytest.approx(ticks)
