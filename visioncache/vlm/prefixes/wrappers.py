"""Wrappers: a model as `generate_step` is given it, with two of its parts in other hands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class WrappedModel:
    """A model whose embedding is taken, and whose language model is another; all else is its own."""

    def __init__(self, model: Any, embed: Callable[..., Any], language_model: Any) -> None:
        self._own = model
        self.get_input_embeddings = embed
        self.language_model = language_model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)


class WrappedLanguageModel:
    """A language model whose calls are taken; all else is its own."""

    def __init__(self, language_model: Any, prefill: Callable[..., Any]) -> None:
        self._own = language_model
        self._prefill = prefill

    def __call__(self, *args: Any, **inputs: Any) -> Any:
        return self._prefill(self._own, *args, **inputs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)


def notes(language_model: Any) -> dict[str, Any]:
    """List what a module notes for itself, as MLX names it: with an underscore first."""
    fields = {**vars(language_model), **language_model}
    return {name: value for name, value in fields.items() if name.startswith("_")}
