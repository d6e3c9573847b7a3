"""Which device and which precision a run uses, decided once and written into its record."""

import ctypes
from contextlib import AbstractContextManager

import torch

from scpo.choices import Precision, ResolvedPrecision


def pick_device() -> torch.device:
    """Return the current CUDA device where there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def named_device(name: str | torch.device) -> torch.device:
    """Return the device of a name, as torch names it; "auto" as of `pick_device`.

    Raises:
        ValueError: This machine or this torch has no such device.
    """
    if name == "auto":
        return pick_device()
    try:
        place = torch.device(name)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        raise ValueError(
            f"device is {str(name)!r}, but torch finds no such device here. Use auto or cpu."
        ) from error
    return place


def forward_tokens(device: torch.device) -> tuple[int, int]:
    """Return the fewest and the most padded tokens that one forward pass should have.

    A pass of few texts of one length wastes no padding. But a GPU waits for the host to launch a
    pass's kernels, about as long as it takes for thousands of tokens, so there passes are fewer.
    """
    return (8192, 16384) if device.type == "cuda" else (0, 4096)


def resolve_precision(precision: Precision, device: torch.device) -> ResolvedPrecision:
    """Return the precision of the matrix products; `auto` is bf16 where the device has it.

    A CPU without bf16 instructions emulates them a hundred times slower, so `auto` is fp32
    there. Master weights, head, rewards and loss are float32 in either case.

    Raises:
        ValueError: Not one of auto, fp32, bf16.
    """
    if precision not in ("auto", "fp32", "bf16"):
        raise ValueError(f"precision must be auto, fp32 or bf16, but got {precision!r}.")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    capabilities = torch.cpu.get_capabilities()
    fast = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    return "bf16" if fast else "fp32"


def autocast(device: torch.device, precision: ResolvedPrecision) -> AbstractContextManager[object]:
    """Return the context in which forward passes run."""
    if precision == "fp32":  # also where the caller has set another
        return torch.autocast(device.type, enabled=False)
    return torch.autocast(device.type, dtype=torch.bfloat16)


def trim_memory() -> None:
    """Give freed memory back to the system: of tensors of some MB, glibc keeps it all.

    Where tensors that stay and tensors that go are allocated in turn, a process would hold twice
    what it uses. Other C libraries keep little and lack the call.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
