"""What every worker runs, found by its name in the worker itself.

Ray Train's controller only passes it on. It would import torch, transformers and all else that a
function or its settings need, seconds before the first worker starts.
"""

from importlib import import_module
from typing import Any

import ray


def call_by_name(given: dict[str, Any]) -> Any:
    """Return what the function `loop`, "module:function", gives for the stored `settings`."""
    module, _, function = given["loop"].partition(":")
    return getattr(import_module(module), function)(ray.get(given["settings"]))
