"""The private parts of DeepSpeed that this project touches, found and measured with 0.19.8.

- The operator for shared-memory collectives compiles for most of a minute on first use on a CPU,
  and serves inference only.
- `destroy` leaves a ZeRO-3 model referenced by the cache of a method and by a list of modules, so
  the weights of each training would stay in memory.

Both are looked up at import: a version that keeps them elsewhere fails before anything trains.
"""

from typing import Any

import deepspeed
from deepspeed.runtime.zero import parameter_offload
from deepspeed.runtime.zero.partitioned_param_coordinator import PartitionedParameterCoordinator

try:
    _MODULE_STACK = parameter_offload.FWD_MODULE_STACK
    _OPERATORS = deepspeed.ops.__compatible_ops__
    _TRACED = vars(PartitionedParameterCoordinator)[
        "_PartitionedParameterCoordinator__params_to_release"
    ]
    _CLEAR_CACHE = _TRACED.__closure__[0].cell_contents.cache_clear  # below a decorator
except (AttributeError, KeyError, TypeError) as error:
    raise ImportError(
        f"DeepSpeed {deepspeed.__version__} is not built as 0.19.8 is ({error}). Install "
        f"deepspeed==0.19.8, or adapt {__file__}."
    ) from error


def skip_compilation() -> None:
    """Take the operator of shared-memory collectives out of use; gloo serves training."""
    _OPERATORS.pop("deepspeed_shm_comm", None)


def release_engine(engine: Any) -> None:
    """Let go of a DeepSpeed engine, the only one of this process, and of its model."""
    engine.destroy()
    _MODULE_STACK.clear()
    _CLEAR_CACHE()
