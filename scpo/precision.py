"""Names of precisions, apart from `scpo.devices` so that a configuration is read without torch."""

from typing import Literal

Precision = Literal["auto", "fp32", "bf16"]
ResolvedPrecision = Literal["fp32", "bf16"]
