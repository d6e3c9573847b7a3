"""Where a model comes from, resolved against a hub on loopback through the real clients."""

import json
import shutil
from pathlib import Path

import pytest

from cluster.doctor.probes import look_at
from scpo.data.reading.bad_rows import BadRows
from scpo.data.sources.global_opinions import read_global_opinions
from scpo.data.sources.prism import read_prism
from scpo.models.loading import load_reward_model
from scpo.models.lora import add_lora
from scpo.models.model_source import ADAPTER_CONFIG, find_model, pin_model
from tests.hub.answers import READER_TOKEN
from tests.hub.data_sets import OPINIONS, PRISM
from tests.hub.models import DEBERTA, GATED, LLAMA
from tests.hub.repositories import Repository, read_folder
from tests.hub.server import Fault, HubServer
from tests.saved_model import save_reward_model


def test_a_download_that_breaks_off_is_told_and_goes_on(hub_here: HubServer) -> None:
    hub_here.faults[:] = [Fault("model.safetensors", "GET", after_bytes=1000, reset=True)]
    with pytest.raises(ConnectionError, match=rf"{DEBERTA}@\w+ could not be fetched.*Try again"):
        find_model(DEBERTA).folder()
    hub_here.log.clear()
    folder = find_model(DEBERTA).folder()
    assert {path.name for path in folder.iterdir()} >= {"config.json", "model.safetensors"}
    assert not [each for each in hub_here.log if each.path.endswith("config.json")]  # kept


@pytest.mark.parametrize("fault", [Fault(status=500, times=None), Fault(stop=True)])
def test_a_hub_that_is_gone_is_told_unless_the_cache_holds_all(
    hub_here: HubServer, fault: Fault
) -> None:
    whole = find_model(DEBERTA)
    whole.folder()
    hub_here.faults[:] = [fault]
    with pytest.raises(ConnectionError, match=f"{LLAMA} could not be fetched from {hub_here.url}"):
        find_model(LLAMA)
    assert find_model(DEBERTA).folder() == whole.folder()


def test_offline_takes_only_what_is_whole(
    hub_here: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = find_model(DEBERTA)
    whole.folder()
    begun = find_model(LLAMA)  # its configuration
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub_here.log.clear()
    assert find_model(DEBERTA) == whole
    assert (whole.folder() / "model.safetensors").is_file()
    with pytest.raises(FileNotFoundError, match=r"must be in the cache.*it is not, or not whole"):
        begun.folder()
    with pytest.raises(FileNotFoundError, match=rf"{GATED}.*HF_HUB_OFFLINE is set, but it is not"):
        find_model(GATED)
    assert hub_here.log == []


def test_a_data_set_that_is_not_given_is_told(
    hub_here: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(hub_here.root / "datasets" / OPINIONS)
    with pytest.raises(FileNotFoundError, match=rf"{OPINIONS}: .*doesn't exist.*HF_TOKEN"):
        read_global_opinions(OPINIONS, BadRows())
    for name in ("huggingface_hub.constants", "datasets.config"):
        monkeypatch.setattr(f"{name}.HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match=rf"{PRISM}.*HF_HUB_OFFLINE is set, but it is not"):
        read_prism(PRISM, BadRows())


def test_a_run_keeps_the_commit_that_it_began_with(hub_here: HubServer, tmp_path: Path) -> None:
    first = pin_model(DEBERTA, file=tmp_path / "pin.json")
    hub = Repository(hub_here.root, "models", DEBERTA)
    hub.publish(read_folder(first.folder()) | {"README.md": b"A third commit."})
    assert find_model(DEBERTA).commit != first.commit
    assert pin_model(DEBERTA, file=tmp_path / "pin.json") == first
    assert pin_model(DEBERTA, revision="v1", file=tmp_path / "pin.json") == find_model(
        f"{DEBERTA}@v1"
    )


def test_an_adapter_takes_its_base_along(hub_here: HubServer, tmp_path: Path) -> None:
    reward = add_lora(load_reward_model(f"{LLAMA}"), rank=2, alpha=4.0)
    folder = save_reward_model(reward, tmp_path / "adapter")
    source = find_model(folder)
    assert source.base == find_model(LLAMA)
    config = json.loads((folder / ADAPTER_CONFIG).read_text())
    (folder / ADAPTER_CONFIG).write_text(json.dumps(config | {"base_model_name_or_path": None}))
    with pytest.raises(ValueError, match="an adapter must name its base"):
        find_model(folder)
    (folder / ADAPTER_CONFIG).write_text(json.dumps(config | {"base_model_name_or_path": "a/b"}))
    with pytest.raises(FileNotFoundError, match=r"The base of the adapter .*adapter: There is no"):
        find_model(folder)


def test_the_base_of_an_adapter_is_no_adapter(tmp_path: Path) -> None:
    for name, base in (("itself", "itself"), ("other", "itself")):
        (tmp_path / name).mkdir()
        text = json.dumps({"base_model_name_or_path": str(tmp_path / base)})
        (tmp_path / name / ADAPTER_CONFIG).write_text(text)
        with pytest.raises(
            ValueError, match=f"{name}: the base of an adapter must be a whole mod"
        ):
            find_model(tmp_path / name)


def test_doctor_sees_what_the_hub_gives(
    hub_here: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert look_at(f"{DEBERTA}@v1")["readable"]
    assert "404" in look_at(f"{DEBERTA}@v9")["how"]
    seen = look_at(GATED)
    assert (seen["readable"], "HF_TOKEN" in seen["how"]) == (False, True)
    monkeypatch.setenv("HF_TOKEN", READER_TOKEN)
    assert look_at(GATED)["readable"]
    hub_here.log.clear()
    find_model(DEBERTA)
    assert look_at(DEBERTA)["how"].startswith("the hub's cache")


def test_the_home_of_nobody_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="~nobody-of-this-name"):
        find_model("~nobody-of-this-name")
