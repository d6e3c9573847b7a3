import pytest
import torch

from scpo.models.devices import autocast, pick_device, resolve_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [({}, "fp32"), ({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16")],
)
def test_auto_is_bf16_where_the_cpu_has_it(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert resolve_precision("auto", CPU) == expected
    assert resolve_precision("fp32", CPU) == "fp32"
    assert resolve_precision("bf16", CPU) == "bf16"


@pytest.mark.parametrize(("supported", "expected"), [(True, "bf16"), (False, "fp32")])
def test_auto_on_a_gpu(monkeypatch, supported, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: supported)
    assert resolve_precision("auto", torch.device("cuda")) == expected


def test_other_precisions_are_refused():
    with pytest.raises(ValueError, match="precision must be auto, fp32 or bf16, but got 'fp8'"):
        resolve_precision("fp8", CPU)


def test_autocast_is_what_was_asked_for():
    product = torch.ones(2, 2)
    with autocast(CPU, "fp32"):
        assert (product @ product).dtype == torch.float32
    with autocast(CPU, "bf16"):
        assert (product @ product).dtype == torch.bfloat16


def test_the_cpu_serves_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device() == CPU
