import platform
import subprocess
import sys

import pytest
import torch

from scpo.models.devices import autocast, named_device, pick_device, resolve_precision

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


def test_a_device_that_is_not_here_is_refused():
    assert named_device("auto") == pick_device()
    assert named_device("cpu") == named_device(CPU) == CPU
    for name in ("cuda:99", "xyz"):
        with pytest.raises(ValueError, match=f"device is '{name}', but torch finds no such"):
            named_device(name)


def test_autocast_is_what_was_asked_for():
    product = torch.ones(2, 2)
    with autocast(CPU, "fp32"):
        assert (product @ product).dtype == torch.float32
    with autocast(CPU, "bf16"):
        assert (product @ product).dtype == torch.bfloat16


def test_the_cpu_serves_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device() == CPU


_KEPT_AND_FREED = """
import torch
from scpo.models.devices import trim_memory

def own_mb():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("RssAnon"))

del (largest := [torch.ones(8_000_000)])[0]  # from here on glibc keeps what is smaller
start, kept, freed = own_mb(), [], []
for _ in range(60):
    freed.append(torch.ones(1_000_000))
    kept.append(torch.ones(1_000))
freed.clear()
held = own_mb() - start
trim_memory()
print(held, own_mb() - start)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
def test_freed_tensors_between_kept_ones_are_given_back() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _KEPT_AND_FREED], capture_output=True, text=True, check=True
    )
    held, left = map(float, done.stdout.split())
    assert held > 200
    assert left < 50
