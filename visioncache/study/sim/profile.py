"""Profiles: what a model takes for each stage of a request, from measured sessions."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from visioncache.events import STAGE_TAGS
from visioncache.study.benchmark.result import load_result
from visioncache.study.data import data_path
from visioncache.study.trace.images import ImageModel

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

TYPICAL_PROMPT = 4096
"""Tokens that a predicted prefill is exact at; attention makes longer prompts dearer, a token."""

CHAT_TOKENS = 30
"""Of a short question with its template."""


@dataclass(frozen=True)
class Profile:
    """Seconds of a request: those of each missed image, and prefill over all tokens of the prompt."""

    name: str = "qwen2.5-vl-3b"
    image: ImageModel = field(default_factory=ImageModel)
    prefill_fixed_s: float = 0.0216
    prefill_s_a_token: float = 1.87e-5
    key_s: float = 5e-5
    """To identify an image, hit or miss."""
    answer_s: float = 0.0
    """A device is busy with the answer after its first token, and the next request waits."""
    text_tokens: int = CHAT_TOKENS

    def prefill_s(self, tokens: float) -> float:
        """Give the seconds from features in hand to the first token, for a prompt of so many tokens."""
        return self.prefill_fixed_s + self.prefill_s_a_token * tokens


def profiles() -> list[str]:
    """List the models with measured sessions in data/results/sessions."""
    return sorted({load_result(path).model for path in data_path("results", "sessions").glob("*.json")})


def measured(
    model: str, *, size: str | None = None, session: str = "album", folder: Path | None = None
) -> Profile:
    """Make a model's profile of its measured sessions.

    Stages of a miss are those of the arm without a cache, a photograph; prefill is a line through the
    arm with nothing left to save (`bound`). Neither is fitted to the arm with a cache, so a simulation
    of that arm can be compared with it.

    Args:
        model: one of `profiles()`.
        size: of the photographs, as "1280x960"; by default the middle one of those measured.
        session: which session.
        folder: of the result files; the published ones by default.

    Raises:
        ValueError: there is no such result.
    """
    return profile_from(measured_turns(model, session, size, folder), model)


def profile_from(turns: pd.DataFrame, model: str) -> Profile:
    """Make a profile of a session that shows its images one by one, from its arms `none` and `bound`."""
    medians = turns.groupby(["arm", "turn"]).median(numeric_only=True)
    plain, floor = medians.loc["none"], medians.loc["bound"]
    plain = plain[plain["images"] > 0]
    more, longer = plain["images"].diff(), plain["prompt_tokens"].diff()
    text = float(longer[more == 0].median()) if (more == 0).any() else CHAT_TOKENS
    tokens = round(float(((longer - text) / more)[more > 0].median()))
    held = turns.loc[turns["arm"] == "visioncache", "held_bytes"].max() / plain["images"].max()
    stages = {name: float((plain[name] / plain["images"]).median()) for name in STAGE_TAGS}
    slope, fixed = np.polyfit(floor["prompt_tokens"], floor["ttft_s"], 1)
    image = ImageModel(tokens=tokens, bytes_per_token=round(held / tokens), at_tokens=tokens, **stages)
    return Profile(model, image, float(fixed), float(slope))


def predicted(chip: str) -> Profile:
    """Make Qwen2.5-VL-3B's profile on a chip from its published figures: a lower bound, and no measurement.

    The tower and prefill are the roofline's. Decoding and preprocessing run on the CPU; of that it says
    nothing: they stay as measured on another machine.

    Raises:
        ValueError: there are no figures of such a chip.
    """
    from visioncache.study.benchmark.roofline import CHIPS, QWEN25_VL_3B

    found = {one.name.lower(): one for one in CHIPS}.get(chip.lower())
    if found is None:
        raise ValueError(f"no chip {chip!r}; there are: {', '.join(one.name for one in CHIPS)}")
    image = replace(ImageModel(), tower_s=QWEN25_VL_3B.encode(ImageModel.at_tokens).seconds(found))
    slope = QWEN25_VL_3B.prefill(TYPICAL_PROMPT).seconds(found) / TYPICAL_PROMPT
    return Profile(f"{found.name} (predicted)", image, 0.0, slope)


def profile_of(name: str) -> Profile:
    """Find a profile by a measured model's name or a chip's; ValueError tells all there are."""
    from visioncache.study.benchmark.roofline import CHIPS

    if name in profiles():
        return measured(name)
    if name.lower() in {one.name.lower() for one in CHIPS}:
        return predicted(name)
    chips = ", ".join(one.name for one in CHIPS)
    raise ValueError(
        f"no profile {name!r}; there are: {', '.join(profiles())} (measured), {chips} (predicted)"
    )


def measured_turns(
    model: str, session: str = "album", size: str | None = None, folder: Path | None = None
) -> pd.DataFrame:
    """Give the measured turns of a session without a prompt cache; ValueError where there are none."""
    for path in sorted((folder or data_path("results", "sessions")).glob("*.json")):
        result = load_result(path)
        if result.model == model:
            alone = ~result.turns["prompt_cache"].astype(bool)
            turns = result.turns[(result.turns["session"] == session) & alone]
            sizes = turns["size"].unique().tolist()
            chosen = (sizes[len(sizes) // 2] if sizes else None) if size is None else size
            if chosen in sizes:
                return turns[turns["size"] == chosen]
            there = ", ".join(sizes) or "none"
            raise ValueError(f"no session {session!r} of {model} at {size}; sizes: {there}")
    raise ValueError(f"no measured model {model!r}; there are: {', '.join(profiles())}")
