"""Exported folders of each kind of model."""

import pytest

from tests.dialogues import export_model


@pytest.fixture(scope="module")
def exports(model_folder, tmp_path_factory):
    made = {}

    def folder_of(kind, *, lora=False):
        if (kind, lora) not in made:
            out = tmp_path_factory.mktemp(kind) / "out"
            made[kind, lora] = export_model(model_folder(kind), out, lora=lora)
        return made[kind, lora]

    return folder_of
