"""The gradient of the word embeddings on a CPU: of the rows looked up, not of the vocabulary.

As PyTorch does it, each forward pass fills a tensor as large as the vocabulary, which takes a
tenth of a step. Here the passes of a step give rows (sparse gradients), which become one tensor
before the optimizer's step; its memory is kept for the next. A GPU fills it in no time.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from scpo.models.classifier import plain_model


class WordGradients:
    """Those of a model whose weights lie on one device; a model on a GPU is left alone."""

    def __init__(self, model: nn.Module) -> None:
        words = plain_model(model).get_input_embeddings()
        self._words: nn.Embedding | None = None
        if isinstance(words, nn.Embedding) and words.weight.device.type == "cpu":
            self._words = words
        self._kept: Tensor | None = None

    @contextmanager
    def of_rows(self) -> Iterator[None]:
        """Let what looks words up inside this block get gradients of its rows."""
        if self._words is None:
            yield
            return
        before, self._words.sparse = self._words.sparse, True
        try:
            yield
        finally:
            self._words.sparse = before

    def start(self) -> None:
        """Give the kept memory back, filled with zeros, where a step has no gradient yet."""
        if self._words is not None and self._words.weight.grad is None and self._kept is not None:
            self._words.weight.grad = self._kept.zero_()

    def join(self) -> None:
        """Make one tensor of the rows, as clipping and the optimizer take it."""
        if self._words is not None and self._words.weight.grad is not None:
            self._kept = self._words.weight.grad = self._words.weight.grad.to_dense()
