"""Fitted curves: known parameters come back, AICc by hand, isotonic as scipy's, refusals."""

import numpy as np
import pytest
from scipy.optimize import curve_fit, isotonic_regression, lsq_linear, minimize

from sweeps.curves.fits import (
    CurveFit,
    akaike,
    describe_fit,
    fit_curve,
    possible_shapes,
    refit_errors,
)
from sweeps.curves.shapes import (
    curve_errors,
    fit_levels,
    fit_lines,
    fit_rows,
    fit_steps,
    merge_sizes,
    num_parameters,
)

SIZES = np.array([32.0, 64, 128, 256, 512, 1024])


def test_a_power_curve_gives_its_parameters_back():
    error = 0.2 + 0.15 * (SIZES / 32) ** -0.7
    fit = fit_curve(SIZES, error)
    assert fit.shape == "power"
    assert fit.parameters == pytest.approx((0.2, 0.15, 0.7), abs=1e-5)
    at = np.array([[45.0], [2000.0]])
    assert fit.error_at(at) == pytest.approx(0.2 + 0.15 * (at / 32) ** -0.7, abs=1e-6)
    assert fit.error_at(at).shape == (2, 1)


def test_a_logarithmic_curve_is_preferred_where_it_is_true():
    rng = np.random.default_rng(3)
    pairs = np.repeat(SIZES, 5)
    error = 0.45 - 0.04 * np.log(pairs / 32) + rng.normal(0, 0.003, len(pairs))
    fit = fit_curve(pairs, error)
    assert fit.shape == "log_linear"
    assert fit.parameters == pytest.approx((0.45, 0.04), abs=0.003)
    assert fit.error_at([1e9]) == 0.0  # an error is never negative


def test_steps_that_no_formula_has_are_isotonic():
    pairs = np.repeat(SIZES, 4)
    error = np.repeat([0.4, 0.4, 0.4, 0.2, 0.2, 0.2], 4)
    error = error + np.tile([0.001, -0.001, 0.0005, -0.0005], 6)
    fit = fit_curve(pairs, error)
    assert fit.shape == "isotonic"
    assert fit.parameters == pytest.approx([0.4] * 3 + [0.2] * 3)
    assert fit.error_at([1.0, 1e6]) == pytest.approx([0.4, 0.2])  # nothing beyond its points
    halfway = np.sqrt(128 * 256)
    assert fit.error_at([halfway]) == pytest.approx([0.3])  # a line over log2 pairs


def test_noisy_power_fits_as_scipys_curve_fit():
    rng = np.random.default_rng(0)
    pairs = np.repeat(SIZES, 5)
    error = 0.15 + 0.2 * (pairs / 32) ** -0.6 + rng.normal(0, 0.005, len(pairs))
    fit = fit_curve(pairs, error)
    assert fit.shape == "power"
    expected, _ = curve_fit(
        lambda n, c, a, b: c + a * (n / 32) ** -b,
        pairs,
        error,
        p0=(0.1, 0.1, 1.0),
        bounds=([0, 0, 0], [1, 1, 5]),
    )
    assert fit.parameters == pytest.approx(expected, abs=2e-4)


def test_aicc_by_hand():
    # P = 10, RSS = 0.02, k = 3: 10 ln 0.002 + 6 + 24 / 6
    assert akaike(0.02, 10, 3)[0] == pytest.approx(10 * np.log(0.002) + 10)
    assert akaike([0.02, 0.04], 10, [3, 1]) == pytest.approx(
        [10 * np.log(0.002) + 10, 10 * np.log(0.004) + 2.5]
    )
    assert np.isinf(akaike(0.02, 4, 3)[0])  # P must be above k + 1


def test_the_curve_chosen_has_the_least_aicc_of_all_shapes():
    rng = np.random.default_rng(5)
    pairs, weights = np.repeat(SIZES, 3), rng.uniform(0.5, 2.0, 18)
    error = 0.3 * (pairs / 32) ** -0.3 + rng.normal(0, 0.01, 18)
    share = weights / weights.mean()

    def score(fitted, k):
        rss = np.sum(share * (error - fitted) ** 2)
        return 18 * np.log(rss / 18) + 2 * k + 2 * k * (k + 1) / (18 - k - 1)

    merged = merge_sizes(pairs, weights)
    means = merged.average @ error
    steps = isotonic_regression(means, weights=merged.weights, increasing=False).x
    line = np.polyfit(np.log(pairs / 32), error, 1, w=np.sqrt(weights))
    power = minimize(
        lambda p: np.sum(share * (p[0] + p[1] * (pairs / 32) ** -p[2] - error) ** 2),
        (0.1, 0.2, 0.5),
        bounds=[(0, float(means.min())), (0, 1), (0, 5)],
        method="L-BFGS-B",
        options={"ftol": 1e-15},
    )
    scores = {
        "power": score(power.x[0] + power.x[1] * (pairs / 32) ** -power.x[2], 3),
        "log_linear": score(np.polyval(line, np.log(pairs / 32)), 2),
        "isotonic": score(np.repeat(steps, 3), len(np.unique(steps.round(12)))),
    }
    fit = fit_curve(pairs, error, weights)
    assert fit.shape == min(scores, key=scores.__getitem__)
    assert fit.aicc == pytest.approx(min(scores.values()), abs=1e-3)


@pytest.mark.parametrize(
    ("num_points", "num_sizes", "shapes"),
    [
        (3, 3, ["isotonic"]),
        (4, 4, ["log_linear", "isotonic"]),
        (10, 2, ["isotonic"]),
        (15, 3, ["log_linear", "isotonic"]),
        (5, 5, ["power", "log_linear", "isotonic"]),
    ],
)
def test_a_formula_needs_points_to_spare(num_points, num_sizes, shapes):
    assert possible_shapes(num_points, num_sizes) == shapes


def test_two_points_are_joined_and_their_aicc_is_not_known():
    fit = fit_curve([100, 400], [0.4, 0.3])
    assert (fit.shape, fit.parameters) == ("isotonic", pytest.approx((0.4, 0.3)))
    assert np.isinf(fit.aicc)


def test_a_curve_never_rises():
    fit = fit_curve([100, 400], [0.3, 0.4])
    assert fit.parameters == pytest.approx((0.35, 0.35))


@pytest.mark.parametrize(
    ("pairs", "error", "weights", "message"),
    [
        ([1, 2], [0.1], None, r"one shape \(P,\), but got \(2,\), \(1,\)"),
        ([[1, 2]], [[0.1, 0.2]], None, r"one shape \(P,\)"),
        ([0, 2], [0.1, 0.2], None, r"`pairs > 0`.* but got pairs=\[0"),
        ([1, 2], [0.1, 1.2], None, r"`0 <= error <= 1` must hold"),
        ([1, 2], [0.1, np.nan], None, r"`0 <= error <= 1` must hold"),
        ([1, 2], [0.1, 0.2], [1, 0], r"`weights > 0`"),
        ([2, 2], [0.1, 0.2], None, r"needs two sizes, but got pairs=\[2\.0, 2\.0\]"),
    ],
)
def test_what_no_curve_goes_through_is_refused(pairs, error, weights, message):
    with pytest.raises(ValueError, match=message):
        fit_curve(pairs, error, weights)


def test_sizes_are_merged_by_weight():
    merged = merge_sizes(np.array([8.0, 4.0, 8.0]), np.array([1.0, 2.0, 3.0]))
    assert merged.sizes.tolist() == [4, 8]
    assert merged.weights == pytest.approx([1, 2])  # scaled to a mean of 1, then summed
    assert merged.average @ np.array([0.4, 0.1, 0.0]) == pytest.approx([0.1, 0.1])


def test_isotonic_rows_are_scipys():
    rng = np.random.default_rng(1)
    errors, weights = rng.uniform(size=(200, 6)), rng.uniform(0.2, 3.0, 6)
    expected = [isotonic_regression(row, weights=weights, increasing=False).x for row in errors]
    assert fit_steps(errors, weights) == pytest.approx(np.array(expected), abs=1e-12)


def test_lines_of_many_rows_are_polyfits():
    rng = np.random.default_rng(2)
    weights = rng.uniform(0.5, 2.0, 6)
    errors = 0.5 - 0.05 * np.log(SIZES / 32) + rng.normal(0, 0.01, (20, 6))
    for row, (c, a) in zip(errors, fit_lines(SIZES, errors, weights), strict=True):
        slope, level = np.polyfit(np.log(SIZES / 32), row, 1, w=np.sqrt(weights))
        assert (c, a) == pytest.approx((level, -slope))
    rising = fit_lines(SIZES, 0.3 + 0.01 * np.log(SIZES)[None, :], weights)
    assert rising[0, 1] == 0.0


def test_levels_of_a_known_exponent_are_the_best_of_their_box():
    rng = np.random.default_rng(4)
    weights, exponents = rng.uniform(0.5, 2.0, 6), np.array([0.1, 1.0, 3.0])
    errors = np.clip(0.3 + rng.normal(0, 0.1, (8, 6)), 0, 1)
    c, a, loss = fit_levels(exponents, SIZES, errors, weights)
    for row, error in enumerate(errors):
        for column, b in enumerate(exponents):
            basis = (SIZES / 32) ** -b
            terms = np.stack([np.ones(6), basis], axis=1)
            root = np.sqrt(weights)
            best = lsq_linear(
                terms * root[:, None],
                error * root,
                bounds=([0, 0], [error.min(), np.inf]),
                tol=1e-14,
            )
            assert loss[row, column] == pytest.approx(2 * best.cost, abs=1e-9)
            found = terms @ (c[row, column], a[row, column])
            assert loss[row, column] == pytest.approx(weights @ (found - error) ** 2)


def test_refitted_rows_choose_as_single_fits_do():
    rng = np.random.default_rng(6)
    pairs = np.repeat(SIZES, 3)
    merged = merge_sizes(pairs, np.ones(18))
    at = np.array([32.0, 100.0, 700.0])
    truths = (
        0.2 + 0.2 * (SIZES / 32) ** -0.9,
        0.4 - 0.05 * np.log(SIZES / 32),
        np.array([0.4, 0.4, 0.4, 0.2, 0.2, 0.2]),
    )
    rows = np.array(truths) + rng.normal(0, 0.001, (3, 6))
    spread = np.tile([0.002, -0.002, 0.0], 6)
    scatter = float(np.sum(spread**2))
    refitted = refit_errors(merged, rows, scatter, 18, at)
    shapes = []
    for row, found in zip(rows, refitted, strict=True):
        fit = fit_curve(pairs, np.repeat(row, 3) + spread)
        shapes.append(fit.shape)
        assert found == pytest.approx(fit.error_at(at), abs=2e-3)  # exponents come from a grid
    assert shapes == ["power", "log_linear", "isotonic"]


def test_parameters_of_rows_and_the_levels_of_isotonic():
    levels = np.array([[0.4, 0.4, 0.2], [0.3, 0.3, 0.3]])
    assert num_parameters("isotonic", levels).tolist() == [2, 1]
    assert num_parameters("power", np.zeros((2, 3))).tolist() == [3, 3]
    assert fit_rows("isotonic", SIZES[:3], levels, np.ones(3)) == pytest.approx(levels)


def test_many_rows_of_a_shape_are_each_its_own():
    parameters = np.array([[0.1, 0.2, 0.5], [0.3, 0.1, 1.0]])
    both = curve_errors("power", parameters, SIZES, np.array([64.0]))
    assert both[:, 0] == pytest.approx([0.1 + 0.2 * 2**-0.5, 0.35])


@pytest.mark.parametrize(
    ("shape", "parameters", "words"),
    [
        ("power", (0.2, 0.15, 0.7), "error = 0.2000 + 0.1500 (n / 32)^-0.700"),
        ("log_linear", (0.45, 0.04), "error = 0.4500 - 0.0400 ln(n / 32)"),
        ("isotonic", (0.4, 0.3), "isotonic over 2 sizes"),
    ],
)
def test_formulas_in_words(shape, parameters, words):
    assert describe_fit(CurveFit(shape, parameters, (32.0, 64.0), -3.0)) == words
