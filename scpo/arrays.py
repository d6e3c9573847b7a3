"""Types of arrays, and of a table's row, for type hints."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]
IntArray: TypeAlias = NDArray[np.int64]
FeatureArray: TypeAlias = NDArray[np.float32]
Row: TypeAlias = dict[str, Any]  # plain values by column
