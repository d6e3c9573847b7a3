import pytest
import yaml
from huggingface_hub import ModelCard

from scpo.evaluation.reporting.card_facts import CardFacts, read_card_facts
from scpo.evaluation.reporting.model_card import model_card, write_model_cards
from scpo.evaluation.tables import evaluate_models
from scpo.files.atomic import adopt_folder
from scpo.statistics.bootstrap import read_interval
from scpo.statistics.wording import format_accuracy

FACTS = {
    "base_model": "owner/global-rm",
    "license": "apache-2.0",
    "language": ["en"],
    "data": [{"name": "owner/preferences", "license": "cc-by-4.0"}],
}


@pytest.fixture(scope="module")
def tables(scored_countries, few_resamples):
    return evaluate_models(scored_countries())


@pytest.fixture
def facts():
    setting = {"tau": 0.62, "beta": 1.1, "retention": 0.7, "strength": None, "epochs": 2}
    return CardFacts(**FACTS, setting=setting, users_trained=41, pairs_trained=1234)


def test_the_card_tells_figures_setting_data_and_misuse(facts, tables):
    text = str(model_card(facts, tables, country="Chile", arm="scpo"))
    for row in tables["accuracy"]:
        if (row["country"], row["arm"]) == ("Chile", "scpo"):
            share = format_accuracy(read_interval(row, "accuracy"))
            line = f"| {row['layer']} | {share} | {row['pairs']} | {row['users']} |"
            assert line in text
    assert "| weighting temperature beta, in reward units | 1.1 |" in text
    assert "| weighting strength, scale of the margins / beta | not used |" in text
    assert "| passes over the pairs trained on | 2 |" in text
    assert "| pairs trained on | 1234 |" in text
    assert "owner/preferences (preference pairs): licence cc-by-4.0" in text
    assert "## What it must not be used for" in text
    assert "Speaking for the people of Chile: the model was tuned to 41 annotators" in text
    assert "| Peru |" in text  # other countries' pairs
    assert "| the longer answer |" in text


def test_the_card_calls_survey_questions_questions(facts, tables):
    rows = [{**row, "unit": "question"} for row in tables["accuracy"]]
    card = model_card(facts, {**tables, "accuracy": rows}, country="Chile", arm="scpo")
    assert card.data.eval_results[0].dataset_name == "Chile, test questions"
    text = str(card)
    assert "test questions that no training saw" in text
    assert "| pairs | accuracy | pairs | questions |" in text


def test_the_header_is_what_the_hub_reads(facts, tables, tmp_path):
    [path] = write_model_cards({"Chile/scpo": facts}, tables, {"Chile/scpo": tmp_path})
    assert path == tmp_path / "README.md"
    data = ModelCard.load(path).data
    (accuracy,) = [
        row["accuracy"]
        for row in tables["accuracy"]
        if (row["country"], row["arm"], row["layer"]) == ("Chile", "scpo", "overall")
    ]
    assert data.license == "apache-2.0"
    assert data.base_model == "owner/global-rm"
    assert data.datasets == ["owner/preferences"]
    assert data.eval_results[0].metric_value == round(accuracy, 4)
    assert data.eval_results[0].dataset_name == "Chile, test users"


def test_what_is_no_hub_name_stays_out_of_the_header(tables):
    local = {**FACTS, "base_model": "runs/global/model", "data": [{"name": "own", "license": "?"}]}
    data = model_card(CardFacts(**local), tables, country="Peru", arm="full").data
    assert data.base_model is None
    assert data.datasets is None


@pytest.mark.parametrize(
    ("ends", "verdict"),
    [
        ((0.01, 0.1, 0.002, 0.11), "The gain over the global model is shown"),
        ((0.01, 0.1, -0.002, 0.11), "A difference to the global model is not shown"),
        ((-0.1, -0.01, -0.1, -0.01), "It is worse than the global model"),
        ((None, None, None, None), "With one user no interval can be given"),
    ],
)
def test_the_verdict_follows_both_intervals(facts, tables, ends, verdict):
    names = ("low", "high", "t_low", "t_high")
    paired = [{**row, **dict(zip(names, ends, strict=True))} for row in tables["paired"]]
    text = str(model_card(facts, {**tables, "paired": paired}, country="Chile", arm="scpo"))
    assert verdict in text


def test_a_model_that_was_not_judged_has_no_card(facts, tables, tmp_path):
    with pytest.raises(ValueError, match="The evaluation must hold Kenya/scpo, but it holds"):
        model_card(facts, tables, country="Kenya", arm="scpo")
    folders = {"Chile/scpo": tmp_path / "absent"}
    with pytest.raises(FileNotFoundError, match="A card goes beside its model"):
        write_model_cards({"Chile/scpo": facts}, tables, folders)


def test_cards_of_several_models(facts, tables, tmp_path):
    folders = {label: tmp_path / label for label in ("Chile/scpo", "Peru/full")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    paths = write_model_cards(dict.fromkeys(folders, facts), tables, folders)
    assert paths == [folder / "README.md" for folder in folders.values()]
    assert "preferences in Peru" in paths[1].read_text()
    with pytest.raises(ValueError, match=r"Cards are for countries' models that were judged"):
        write_model_cards({"global": facts}, tables, {"global": tmp_path})


def test_facts_are_read_from_yaml(facts, tmp_path):
    path = tmp_path / "cards.yaml"
    own = {"setting": facts.setting, "users_trained": 41, "pairs_trained": 1234}
    path.write_text(yaml.safe_dump({**FACTS, "models": {"Chile/scpo": own, "Peru/scpo": None}}))
    found = read_card_facts(path)
    assert found["Chile/scpo"] == facts
    assert found["Peru/scpo"] == CardFacts(**FACTS)


def test_the_file_goes_before_what_a_run_knows(tmp_path):
    known = {"Chile/scpo": CardFacts(**FACTS | {"license": "unknown"}, users_trained=7)}
    path = tmp_path / "facts.yaml"
    path.write_text("license: mit")
    expected = CardFacts(**FACTS | {"license": "mit"}, users_trained=7)
    assert read_card_facts(path, known) == {"Chile/scpo": expected}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("license: x", "must be a mapping with `models`"),
        ("- a", "must be a mapping with `models`"),
        ("a: [", "line 1 is not readable YAML"),
        ("models: {Chile: {licence: x}}", "Chile: .*unknown key 'licence'; did you mean"),
    ],
)
def test_facts_that_do_not_fit_are_refused(tmp_path, text, match):
    path = tmp_path / "cards.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=match):
        read_card_facts(path)
    with pytest.raises(FileNotFoundError, match="No file with the facts of model cards"):
        read_card_facts(tmp_path / "absent.yaml")


def test_a_card_that_others_wrote_is_kept(facts, tables, tmp_path, caplog):
    card = tmp_path / "README.md"
    card.write_text("My own words.\n")
    one = {"Chile/scpo": facts}, tables, {"Chile/scpo": tmp_path}
    assert write_model_cards(*one) == []
    assert card.read_text() == "My own words.\n"
    assert "README.md was not written by scpo, so it is kept" in caplog.text
    card.unlink()
    assert write_model_cards(*one) == write_model_cards(*one) == [card]  # our own is replaced
    card.write_text("My own words.\n")
    adopt_folder(tmp_path)  # a folder that a command wrote
    assert write_model_cards(*one) == [card]
