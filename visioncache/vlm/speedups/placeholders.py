"""Placeholders: thousands of image tokens in a row are tokenized as one, and their ids written out.

A prompt with four phone photographs holds 16,000 copies of an image token; to tokenize them anew at
every turn costs more than everything else that a hit leaves to do.
"""

from __future__ import annotations

import re
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

from transformers import BatchEncoding

from visioncache.vlm.patching.instances import Patch, around, is_patched

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

FEW = 64
"""Shorter runs are tokenized as they are."""

_EXPANDED = {"input_ids", "attention_mask", "token_type_ids"}
_PLAIN = {"return_tensors", "add_special_tokens", "padding", "padding_side", "return_token_type_ids"}
"""Options under which one text's tokens are what they would be alone."""


class PlaceholderSide:
    """The tokenizer while it is attached.

    The first text of an attachment is tokenized both ways; should they differ, it is left alone.
    """

    def __init__(self, processor: Any, image_token: int) -> None:
        tokenizer = processor.tokenizer
        self._token = image_token
        self._patch = Patch(
            lambda: getattr(processor, "tokenizer", None),
            lambda now: {"__call__": around(now, "__call__", self._tokenize)},
        )
        text = tokenizer.convert_ids_to_tokens(image_token)
        self._runs = re.compile(f"(?:{re.escape(text)}){{{FEW},}}")
        self._text: str = text
        self.exact: bool | None = None
        """Tell whether both ways gave the same tokens; None before the first."""

    @classmethod
    def of(cls, model: Any, processor: Any) -> PlaceholderSide | None:
        """That of a processor whose tokenizer has an image token of its own, else None."""
        tokenizer = getattr(processor, "tokenizer", None)
        config = model.config
        token = getattr(config, "image_token_id", None) or getattr(config, "image_token_index", None)
        added = getattr(tokenizer, "added_tokens_decoder", None) or {}
        if not isinstance(token, int) or token not in added or is_patched(tokenizer):
            return None
        return cls(processor, token)

    def install(self, undo: ExitStack) -> None:
        """Take the tokenizer's calls, until `undo`."""
        self._patch.install(undo)

    def follow(self) -> None:
        """Go on with a tokenizer that took the place of the one before, which is asked both ways first."""
        if self._patch.follow():
            self.exact = None

    def _tokenize(self, original: Callable[..., Any], text: Any = None, *args: Any, **kwargs: Any) -> Any:
        one = text[0] if isinstance(text, list) and len(text) == 1 else text
        plain = not args and all(name in _PLAIN or not value for name, value in kwargs.items())
        if self.exact is False or not plain or not isinstance(one, str) or not self._runs.search(one):
            return original(text, *args, **kwargs)
        short = self._shortened(original, one, batch=isinstance(text, list), **kwargs)
        if short is None:
            return original(text, **kwargs)
        if self.exact is None:
            whole = original(text, **kwargs)
            self.exact = _plain(whole) == _plain(short)
            return whole
        return short

    def _shortened(
        self,
        original: Callable[..., Any],
        text: str,
        *,
        batch: bool,
        return_tensors: Any = None,
        **kwargs: Any,
    ) -> BatchEncoding | None:
        """Tokenize a text by way of one with each run shortened to one token."""
        counts: list[int] = []

        def shorten(run: re.Match[str]) -> str:
            counts.append(len(run[0]) // len(self._text))
            return self._text

        collapsed = re.sub(f"(?:{re.escape(self._text)})+", shorten, text)
        tokens = original([collapsed], **kwargs)
        ids = tokens["input_ids"][0]
        if ids.count(self._token) != len(counts) or not _EXPANDED.issuperset(tokens):
            return None
        left = iter(counts)
        times = [next(left) if token == self._token else 1 for token in ids]
        data = {
            name: [list(chain.from_iterable(map(repeat, rows[0], times)))] for name, rows in tokens.items()
        }
        if not batch and return_tensors is None:
            data = {name: rows[0] for name, rows in data.items()}
        return BatchEncoding(data, tensor_type=return_tensors)


def _plain(tokens: Any) -> dict[str, Any]:
    return {name: rows.tolist() if hasattr(rows, "tolist") else rows for name, rows in tokens.items()}
