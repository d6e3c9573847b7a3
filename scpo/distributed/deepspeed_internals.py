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


def _find_internals() -> tuple[Any, Any, Any]:
    try:
        traced = vars(PartitionedParameterCoordinator)[
            "_PartitionedParameterCoordinator__params_to_release"
        ]
        return (
            parameter_offload.FWD_MODULE_STACK,
            deepspeed.ops.__compatible_ops__,
            traced.__closure__[0].cell_contents.cache_clear,  # below a decorator
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise ImportError(
            f"DeepSpeed {deepspeed.__version__} is not built as 0.19.8 is ({error}). Install "
            f"deepspeed==0.19.8, or adapt {__file__}."
        ) from error


_MODULE_STACK, _OPERATORS, _CLEAR_CACHE = _find_internals()


def skip_compilation() -> None:
    """Take the operator of shared-memory collectives out of use; gloo serves training."""
    _OPERATORS.pop("deepspeed_shm_comm", None)


def release_engine(engine: Any) -> None:
    """Let go of a DeepSpeed engine, the only one of this process, and of its model."""
    engine.destroy()
    _MODULE_STACK.clear()
    _CLEAR_CACHE()
