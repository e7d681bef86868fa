"""Requests as lines of JSON that others publish: blocks of a prompt by hash, and vLLM's images by hash."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

from visioncache.study.trace.images import ImageModel
from visioncache.study.trace.lines import MOST_BYTES, is_count, is_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

KEYS_AND_VALUES = ImageModel(
    bytes_per_token=36_864, decode_s=0.0, preprocess_s=0.0, tower_s=1.87e-5, at_tokens=1
)
"""Cost of a token's keys and values: Qwen2.5-VL-3B's bytes (36 layers, 2 heads of 128, bfloat16), and the
seconds that prefilling one took in data/results/sessions (MLX on an H100)."""


@dataclass(frozen=True)
class Blocks:
    """A trace of prompts, each a list of blocks with a hash: Mooncake's and Qwen-Bailian's.

    A look-up is a block. Blocks are asked for in their order; a prompt's last block may be short.
    """

    tokens: int
    """Of a whole block."""
    seconds: float
    """Of a unit of its timestamps."""

    def __call__(self, images: ImageModel | None) -> Callable[[dict[str, Any]], list[dict[str, Any]]]:
        """Give the function that turns a line into look-ups."""
        model = images or KEYS_AND_VALUES
        session_of: dict[int, int] = {}
        numbers = count()

        def rows(line: dict[str, Any]) -> list[dict[str, Any]]:
            hashes = _known(line, "hash_ids", _are_names, "a list of numbers or texts")
            length = _known(line, "input_length", is_count, "a whole number from 0")
            time = _known(line, "timestamp", _is_later, "a number from 0")
            chat, parent = line.get("chat_id"), line.get("parent_chat_id", -1)
            if chat is not None:
                _known(line, "chat_id", is_count, "a whole number from 0")
                session_of[chat] = session_of.get(parent, chat)
            common = {
                "time": time * self.seconds,
                "session": None if chat is None else f"chat {session_of[chat]}",
                "turn": line.get("turn"),
                "request": next(numbers) if chat is None else chat,
            }
            left = (max(min(self.tokens, length - i * self.tokens), 0) for i in range(len(hashes)))
            return _priced(zip(map(str, hashes), left, strict=True), common, model)

        return rows


def vllm(images: ImageModel | None) -> Callable[[dict[str, Any]], list[dict[str, Any]]]:
    """Give the function that turns a line, a request of vLLM, into look-ups: one an image.

    A line holds fields of vLLM's `EngineCoreRequest`: `request_id`, `arrival_time`, and `mm_features` with
    an `identifier` (else `mm_hash`) and `mm_position` each, or `mm_hashes` and `mm_placeholders`, as older
    versions have them.
    """
    model = images or ImageModel()

    def rows(line: dict[str, Any]) -> list[dict[str, Any]]:
        time = _known(line, "arrival_time", _is_later, "a number from 0")
        request = _known(line, "request_id", lambda value: isinstance(value, (str, int)), "text")
        shown = line.get("mm_features")
        if shown is None and "mm_hashes" in line:
            names, places = line["mm_hashes"] or [], line.get("mm_placeholders") or []
            if not _are_names(names) or not isinstance(places, list) or len(names) != len(places):
                raise ValueError("'mm_hashes' and 'mm_placeholders' are lists of one length")
            shown = [{"mm_hash": n, "mm_position": p} for n, p in zip(names, places, strict=True)]
        if shown is None or shown == []:
            return []
        if not isinstance(shown, list) or not all(isinstance(one, dict) for one in shown):
            raise ValueError(f"'mm_features' is a list of objects, not {shown!r}")
        named = [(one.get("identifier") or one.get("mm_hash"), one.get("mm_position")) for one in shown]
        for name, place in named:
            if not isinstance(name, str) or not isinstance(place, dict) or not is_count(place.get("length")):
                raise ValueError(
                    "an image has an 'identifier' or 'mm_hash', and an 'mm_position' with a 'length'"
                )
        common = {"time": time, "session": None, "turn": None, "request": request}
        return _priced(((name, place["length"]) for name, place in named), common, model)

    return rows


def _priced(
    asked: Iterable[tuple[str, int]], common: dict[str, Any], model: ImageModel
) -> list[dict[str, Any]]:
    """Give look-ups of names with tokens their bytes and seconds; ValueError for more than a trace holds."""
    asked = [*asked]
    most = max((tokens for _, tokens in asked), default=0)
    if most * model.bytes_per_token > MOST_BYTES:
        raise ValueError(f"{most} tokens of {model.bytes_per_token} bytes are more than 2**50 bytes")
    second = model.tower_s + model.decode_s + model.preprocess_s
    return [
        common
        | {
            "key": name,
            "tokens": tokens,
            "bytes": tokens * model.bytes_per_token,
            "seconds": model.fixed_seconds + second * (tokens / model.at_tokens) ** model.exponent,
        }
        for name, tokens in asked
    ]


def _known(line: dict[str, Any], name: str, allowed: Callable[[Any], bool], told: str) -> Any:
    if not allowed(line.get(name)):
        raise ValueError(f"{name!r} is {told}, not {line.get(name)!r}")
    return line[name]


def _is_later(value: Any) -> bool:
    return is_time(value, 0.0)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, (int, str)) for one in value)
