from pathlib import Path

import pytest

from scpo.config import EncoderConfig
from scpo.evaluation.labelled_models import (
    models_to_judge,
    name_countries,
    owners_of,
    parse_models,
)

PRESENT = {"Chile", "South Korea"}


def label_models(texts, global_model, countries):
    judged = models_to_judge(
        Path("data"), global_model, texts, countries, cache=Path("cache"), encoder=EncoderConfig()
    )
    return judged.global_model, judged.models


def test_labels_and_models_are_read():
    texts = ["global=g", "Chile = models/a=b", "Chile/full=c"]
    assert parse_models(texts) == {"global": "g", "Chile": "models/a=b", "Chile/full": "c"}
    assert label_models(texts, None, ()) == ("g", {"Chile": "models/a=b", "Chile/full": "c"})
    assert label_models(["full=f"], "g", ()) == ("g", {"full": "f"})
    assert label_models(["models/chile"], "g", ["Chile"]) == ("g", {"Chile": "models/chile"})


@pytest.mark.parametrize("text", ["models/chile", "=x", "Chile="])
def test_a_text_without_label_or_model_is_refused(text):
    with pytest.raises(ValueError, match="A model is given as LABEL=MODEL, such as"):
        parse_models([text])


def test_a_folder_whose_name_has_an_equals_sign_is_a_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("lr=1/chile").mkdir(parents=True)
    for text in ("lr=1/chile", "./lr=2/chile", f"{tmp_path}/lr=3"):
        assert label_models([text], "g", ["Chile"]) == ("g", {"Chile": text})
        with pytest.raises(ValueError, match="A model is given as LABEL=MODEL, such as"):
            parse_models([text])
    assert parse_models(["Chile=lr=1/chile"]) == {"Chile": "lr=1/chile"}
    monkeypatch.setenv("HOME", "/home/eva")
    assert parse_models(["Chile/own=~/m"]) == {"Chile/own": "/home/eva/m"}


def test_a_label_twice_is_refused():
    with pytest.raises(ValueError, match="'Chile' is given to a and to b"):
        parse_models(["Chile=a", "Chile=b"])
    with pytest.raises(ValueError, match="but 'South Korea' comes twice"):
        name_countries({"South Korea": "a", "Republic of Korea": "b"}, PRESENT)


def test_a_model_alone_needs_its_country():
    for texts, countries in ((["a"], ()), (["a"], ("Chile", "Peru")), (["a", "b"], ("Chile",))):
        with pytest.raises(ValueError, match="A model without a label is that of one --country"):
            label_models(texts, "g", countries)


def test_one_global_model_is_needed():
    with pytest.raises(ValueError, match="but there is none"):
        label_models(["full=f"], None, ())
    with pytest.raises(ValueError, match="but there are g and h"):
        label_models(["full=f", "global=h"], "g", ())
    assert label_models(["global=g"], "g", ()) == ("g", {})


def test_countries_get_their_one_spelling():
    models = {"S. Korea/scpo": "a", "full": "b", "CHL": "c"}
    named = name_countries(models, PRESENT)
    assert named == {"South Korea/scpo": "a", "full": "b", "Chile": "c"}
    assert owners_of(named, PRESENT) == ["South Korea", "Chile"]


def test_labels_that_do_not_fit_are_refused():
    for label in ("Kenya/scpo", "Chile/"):
        with pytest.raises(ValueError, match="A label with an arm is COUNTRY/ARM"):
            name_countries({label: "x"}, PRESENT)
    for label in ("length", "pooled", "Chile/global"):
        with pytest.raises(ValueError, match="A label must not be global, length, pooled"):
            name_countries({label: "x"}, PRESENT)


def test_a_misspelt_country_is_no_model_for_all():
    for label in ("Chlie", "Chil", "South Korae"):
        with pytest.raises(ValueError, match=r"is close to '(Chile|South Korea)'\. Write"):
            name_countries({label: "x"}, PRESENT)
    free = {label: "x" for label in ("full", "base", "scpo_tuned", "Kenya", "my model")}
    assert name_countries(free, PRESENT) == free


def test_what_is_missing_is_said():
    keys = {"cache": Path("cache"), "encoder": EncoderConfig()}
    for data, texts in ((None, ["a=b"]), (Path("data"), [])):
        with pytest.raises(ValueError, match="--data with --model, or --run RUN"):
            models_to_judge(data, "g", texts, None, **keys)
    judged = models_to_judge(Path("data"), "g", ["full=f"], ["Chile"], **keys)
    assert (judged.models, judged.countries) == ({"full": "f"}, ("Chile",))
