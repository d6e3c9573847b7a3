from scpo.statistics.bootstrap import Interval
from scpo.statistics.wording import country_title, format_accuracy, format_difference


def test_figures_with_and_without_an_interval():
    accuracy, alone = Interval(0.641, 0.589, 0.69, 9), Interval(0.641, None, None, 1)
    assert format_accuracy(accuracy) == "64.1 % (58.9-69.0)"
    assert format_accuracy(accuracy, unit="") == "64.1 (58.9-69.0)"
    assert format_accuracy(alone) == format_accuracy(0.641) == "64.1 %"
    assert format_accuracy(None) == format_accuracy(Interval(None, None, None, 0)) == "no pairs"
    assert format_accuracy(None, missing="-") == "-"
    assert format_difference(Interval(0.012, -0.008, 0.03, 9)) == "+1.2 (-0.8 to +3.0)"
    assert format_difference(Interval(-0.05, None, None, 1)) == format_difference(-0.05) == "-5.0"
    assert (format_difference(None), format_difference(-0.0)) == ("", "+0.0")


def test_what_is_pooled_is_named():
    assert (country_title("pooled"), country_title("Peru")) == ("All countries pooled", "Peru")
    assert format_accuracy(Interval(0.5, 0.4, None, 3)) == format_accuracy(0.5)
