"""Printed Python values: the text of a list, dict or defaultdict comes in, the value goes out.

Some data sets store columns this way. Only literals are read; nothing is evaluated.
"""

import ast
import math
import re
import reprlib
from typing import Any

from scpo.data.reading.bad_rows import RowFault

PRINTED_DEFAULTDICT = re.compile(r"defaultdict\([^{]*?, (\{.*\})\)", re.DOTALL)
_MAX_BITS = 1024  # of a whole number: no float holds more, and none is printed
MAX_LITERAL = 1 << 17  # characters: parsed, a text takes a hundred times its memory
NOT_FINITE = {"nan": math.nan, "inf": math.inf}


def parse_printed(text: str, field: str) -> Any:
    """Return the value of a printed literal, or of the dict in a printed defaultdict.

    `nan` and `inf`, which are no literals, are read as the numbers that print so.

    Raises:
        RowFault: The text is anything else, such as a call or a name, or too long.
    """
    if len(text) > MAX_LITERAL:
        message = f"A printed list or dict must have {MAX_LITERAL:,} characters at most"
        raise RowFault("invalid_literal", f"{message}, got {len(text):,}.", field)
    found = PRINTED_DEFAULTDICT.fullmatch(text)
    try:
        tree = ast.parse(found[1] if found else text, mode="eval")
        return ast.literal_eval(_Numbers().visit(tree))
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise RowFault(
            "invalid_literal",
            f"A printed list or dict must stand here, got {reprlib.repr(text)}: "
            f"{str(error).partition(': <ast.')[0]}.",
            field,
        ) from error


class _Numbers(ast.NodeTransformer):
    """Reads `nan` and `inf`, and refuses whole numbers that nobody can show or add."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id not in NOT_FINITE:
            return node
        return ast.copy_location(ast.Constant(NOT_FINITE[node.id]), node)

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if isinstance(node.value, int) and node.value.bit_length() >= _MAX_BITS:
            raise ValueError(f"a whole number of over {_MAX_BITS} bits")
        return node
