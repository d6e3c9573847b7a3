"""Run a module with clients that try again at once: python -m tests.hub.impatient scpo ARGS.

Those of huggingface_hub wait 1, 2, 4, 8 and 8 seconds between their six tries, and no setting
of theirs changes that.
"""

import importlib
import runpy
import sys

RETRYING = ("huggingface_hub.utils._http", "huggingface_hub.file_download")


class NoWait:
    """What those modules use of `time`."""

    @staticmethod
    def sleep(seconds: float) -> None:
        """Return at once."""


if __name__ == "__main__":
    for name in RETRYING:
        vars(importlib.import_module(name))["time"] = NoWait
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
