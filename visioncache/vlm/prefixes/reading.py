"""Reading: what mlx-vlm is about to prefill, as a spelling and the positions of its tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mlx.core as mx
from mlx_vlm.generate import dispatch

from visioncache.keys import Key
from visioncache.vlm.families.left_out import MEDIA
from visioncache.vlm.prefixes.spelling import Shown, Spelling

if TYPE_CHECKING:
    from collections.abc import Collection

    import numpy as np

_PLACEHOLDERS = (
    "image_token_id", "image_token_index", "video_token_id", "video_token_index",
    "media_placeholder_token_id", "image_patch_token_id",
)  # fmt: skip

CALLERS = ("position_ids", "rope_deltas")
"""Inputs that count as a caller gave them, and not as the model works them out."""


@dataclass
class Prompt:
    """One prompt, embedded."""

    model: Any
    ids: np.ndarray
    shown: list[Shown]
    given: dict[str, Any]
    """All that the model made of it for its language model, `inputs_embeds` among it."""
    inputs: dict[str, Any]
    """All that it was embedded from, beside the tokens."""
    mask: Any

    def spelled(self, only_embedded: Collection[str], specials: Collection[int]) -> Spelling:
        """Spell it.

        Args:
            only_embedded: the inputs that say how images lie in it, which no language model reads.
            specials: the tokens that are no text.

        Raises:
            ValueError: it has other embeddings than tokens, and nothing says which are whose.
        """
        along = {n: v for n, v in self.inputs.items() if n not in only_embedded and self._runs_along(v)}
        others = {n: v for n, v in self.inputs.items() if n not in {*only_embedded, *along} and v is not None}
        settings = {n: v for n, v in others.items() if isinstance(v, (bool, int, float, str))}
        unseen = any(self.inputs.get(name) is not None for name in MEDIA) and not self.shown
        beside = {**along, "_position_ids": self._noted_positions(), **self.given}
        spelling = Spelling.of(
            self.ids,
            self.shown,
            self._placeholders(),
            {name: value for name, value in beside.items() if value is not None},
            specials=specials,
            foreign=unseen or others.keys() != settings.keys(),
        )
        if self._is_padded():
            spelling.whole.append(Key.from_array(self.mask).text)
        for name in CALLERS:
            if self.inputs.get(name) is not None and name not in {*others, *spelling.beside}:
                spelling.whole.append(f"{name}={_said(self.inputs[name])}")
        spelling.whole.extend(f"{name}={_said(others[name])}" for name in sorted(others))
        return spelling

    def counts_padding(self) -> bool:
        """Tell if it is padded, and its language model works out the positions of its tokens by itself.

        Some count padding in the last token's place, and not in those before it.
        """
        return self._is_padded() and self._counts()

    def _is_padded(self) -> bool:
        return self.mask is not None and not bool(mx.all(self.mask != 0).item())

    def _counts(self) -> bool:
        """Tell if the language model works out positions where it is given none."""
        return not self._has_positions() and hasattr(self.model.language_model, "_rope_deltas")

    def positions(self) -> Any:
        """Find the positions of all its tokens where the language model works them out by itself, or None.

        In later stretches of a prompt it would count on from the images of all, or from those of the first.
        """
        if not self._counts():
            return None
        positions = self._noted_positions()
        primed = dict(self.inputs)
        prime = dispatch._prime_cached_prefix_rope_state  # noqa: SLF001
        if positions is None and prime(self.model, mx.array(self.ids[None].tolist()), self.mask, primed):
            positions = primed.get("position_ids")
        return positions

    def noted(self) -> str:
        """Write down what the language model noted of all images, from where it counts on by itself."""
        note = getattr(self.model.language_model, "_rope_deltas", None)
        return "" if self._noted_positions() is None else _said(note)

    def _has_positions(self) -> bool:
        """Tell if the language model is given positions: it looks at no note of its own then."""
        return "position_ids" in {*self.given, *self.inputs}

    def _noted_positions(self) -> Any:
        """Give the positions that the language model noted and will read, perhaps of an earlier prompt."""
        return None if self._has_positions() else getattr(self.model.language_model, "_position_ids", None)

    def _placeholders(self) -> list[int]:
        """List the tokens that may stand for images, as the configuration or the processor names them."""
        config = self.model.config
        configs = [config, getattr(config, "thinker_config", None)]
        named = [getattr(one, name, None) for one in configs for name in _PLACEHOLDERS]
        named += [self.inputs.get(name) for name in _PLACEHOLDERS]
        return list(dict.fromkeys(token for token in named if isinstance(token, int)))

    def _runs_along(self, value: Any) -> bool:
        """Tell if an input says something of each token."""
        return isinstance(value, mx.array) and value.shape == (1, len(self.ids))


def _said(value: Any) -> str:
    """Write an input down: arrays by their content."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_said, value))}]"
    return Key.from_array(value).text if hasattr(value, "dtype") else repr(value)
