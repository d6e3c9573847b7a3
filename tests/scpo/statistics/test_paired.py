import numpy as np
import pytest
from scipy.stats import binomtest, chi2

from scpo.statistics.accuracy import pair_accuracy
from scpo.statistics.bootstrap import Interval, widened_tail
from scpo.statistics.paired import McNemar, mcnemar, paired_differences


@pytest.mark.parametrize(("b", "c"), [(0, 1), (3, 9), (9, 3), (5, 5), (40, 61), (0, 12)])
def test_mcnemar_is_the_binomial_test_of_scipy(b, c):
    found = mcnemar(b, c)
    assert found.exact_p == pytest.approx(binomtest(b, b + c, 0.5).pvalue, abs=1e-12)
    statistic = max(abs(b - c) - 1, 0) ** 2 / (b + c)
    assert found.statistic == pytest.approx(statistic, abs=1e-12)
    assert found.chi_square_p == pytest.approx(chi2.sf(statistic, 1), abs=1e-12)


@pytest.mark.parametrize(("b", "c"), [(0, 1), (3, 9), (9, 3), (40, 61), (0, 12)])
def test_mcnemar_is_that_of_statsmodels(b, c):
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    table = [[7, b], [c, 11]]
    found = mcnemar(b, c)
    assert found.exact_p == pytest.approx(tables.mcnemar(table, exact=True).pvalue, abs=1e-9)
    corrected = tables.mcnemar(table, exact=False, correction=True)
    assert found.statistic == pytest.approx(corrected.statistic, abs=1e-9)
    assert found.chi_square_p == pytest.approx(corrected.pvalue, abs=1e-9)


def test_mcnemar_without_a_difference_shows_nothing():
    assert mcnemar(0, 0) == McNemar(exact_p=1.0, statistic=0.0, chi_square_p=1.0)
    assert mcnemar(4, 4).chi_square_p == 1.0
    with pytest.raises(ValueError, match="`b >= 0` and `c >= 0` must hold, but got b=-1, c=2"):
        mcnemar(-1, 2)


def naive_ends(ours, theirs, user):
    """Draw users, then go through the pairs of each of them."""
    gains = [float(a > 0) - float(b > 0) for a, b in zip(ours, theirs, strict=True)]
    names = sorted(
        set(user),
        key=lambda name: (
            list(user).count(name),
            sum(gain for gain, u in zip(gains, user, strict=True) if u == name),
        ),
    )
    rng = np.random.default_rng(0)
    means = []
    for draw in rng.integers(len(names), size=(60, len(names))):
        values = []
        for drawn in draw:
            values += [
                float(a > 0) - float(b > 0)
                for a, b, u in zip(ours, theirs, user, strict=True)
                if u == names[drawn]
            ]
        means.append(sum(values) / len(values))
    tail = widened_tail(len(names))
    return np.quantile(means, tail), np.quantile(means, 1 - tail)


@pytest.mark.usefixtures("few_resamples")
def test_differences_and_intervals_are_those_of_a_naive_loop():
    rng = np.random.default_rng(0)
    user = rng.choice(["b", "a", "d", "c", "e", "f"], 60)
    baseline = rng.normal(size=60)
    margins = {"near": baseline + 0.5 * rng.normal(size=60), "far": rng.normal(size=60)}
    margins["near"][:3] = 0.0  # ties
    found = paired_differences(margins, baseline, user)
    for name, margin in margins.items():
        expected = naive_ends(margin, baseline, user)
        figure = found[name].bootstrap
        assert (figure.low, figure.high) == pytest.approx(expected, abs=1e-12)
        accuracies = [pair_accuracy(each, user).interval.value for each in (margin, baseline)]
        assert figure.value == pytest.approx(accuracies[0] - accuracies[1], abs=1e-12)
        assert found[name].model_only - found[name].baseline_only == pytest.approx(
            60 * figure.value
        )
        assert (found[name].pairs, figure.users) == (60, 6)
        assert found[name].jackknife.low < figure.value < found[name].jackknife.high


def test_by_hand_with_a_tie_being_wrong():
    found = paired_differences(
        {"m": [1.0, 0.0, 2.0, -1.0]}, [-1.0, 3.0, 1.0, -2.0], ["a", "a", "b", "b"]
    )["m"]
    assert (found.model_only, found.baseline_only) == (1, 1)
    assert found.bootstrap.value == 0.0
    assert found.mcnemar.exact_p == 1.0


def test_a_model_against_itself():
    margin = np.array([1.0, -1.0, 2.0])
    found = paired_differences({"m": margin}, margin, ["a", "b", "c"])["m"]
    assert found.bootstrap == found.jackknife == Interval(0.0, 0.0, 0.0, 3)


def test_one_user_and_no_pair():
    one = paired_differences({"m": [1.0, 1.0]}, [1.0, -1.0], ["a", "a"])["m"]
    assert one.bootstrap == one.jackknife == Interval(0.5, None, None, 1)
    none = paired_differences({"m": []}, [], [])["m"]
    assert none.bootstrap == none.jackknife == Interval(None, None, None, 0)
    assert (none.pairs, none.mcnemar.chi_square_p) == (0, 1.0)


def test_shapes_and_values_are_checked():
    with pytest.raises(ValueError, match="Margins and user must have one shape"):
        paired_differences({"m": [1.0]}, [1.0, 2.0], ["a", "b"])
    with pytest.raises(ValueError, match="Margins and user must have one shape"):
        paired_differences({"m": [1.0, 2.0]}, [1.0, 2.0], ["a"])
    with pytest.raises(ValueError, match="Margins must be finite"):
        paired_differences({"m": [1.0, np.inf]}, [1.0, 2.0], ["a", "b"])


def test_a_row_of_a_table_names_the_difference_and_both_intervals():
    user = np.repeat(np.arange(6), 5)
    ours = np.random.default_rng(0).normal(size=30)
    row = paired_differences({"own": ours}, -ours, user)["own"].as_dict()
    assert {"difference", "low", "high", "t_low", "t_high"} <= set(row)
    assert row["difference"] == pytest.approx(2 * np.mean(ours > 0) - 1)
