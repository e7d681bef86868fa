"""Turn: one question of a chat and its answer, with what answering took."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from visioncache.sizes import count, format_size
from visioncache.vlm.timing import STAGES

if TYPE_CHECKING:
    from visioncache.vlm.timing import StageTotals


@dataclass(frozen=True)
class Turn:
    """One question and its answer, with what answering took."""

    index: int
    question: str
    text: str
    tokens: list[int]
    images: int
    """How many images the conversation holds by now."""
    prompt_tokens: int
    ttft: float
    """Seconds until the first token."""
    elapsed: float
    """Seconds until the last one."""
    seconds: dict[str, float] = field(default_factory=dict)
    """`key`, `decode`, `preprocess`, `tower`, and the rest of the TTFT as `prefill`, as far as measured."""
    encodes: int | None = 0
    """Images that went through the vision tower; None where nobody counted, in a chat without a cache."""
    hits: int = 0
    misses: int = 0
    store_hits: int = 0
    """Look-ups that memory missed and the store answered."""
    nbytes: int = 0
    """Bytes that the cache holds after the turn."""
    reused_tokens: int = 0
    """Prompt tokens that an earlier turn kept keys and values of."""
    ahead: float = 0.0
    """Seconds of work on the turn's images before it was asked, in `Chat.show`."""

    def __str__(self) -> str:
        facts = [count(self.images, "image"), f"first token after {self.ttft * 1000:.0f} ms"]
        if self.encodes is None:
            facts.append("this chat was given no cache, so nothing else was measured")
        else:
            stored = [f"{self.store_hits:,} from the store"] if self.store_hits else []
            facts += [count(self.hits, "hit"), *stored, count(self.misses, "miss", "misses")]
            facts.append(f"{format_size(self.nbytes)} held")
        return f"{self.text}\n[turn {self.index}: {', '.join(facts)}]"

    def _repr_html_(self) -> str:
        from visioncache.display import counted, facts_html, format_seconds, lookup_facts, said_html

        facts = [(format_seconds(self.ttft), "to the first token"), counted(self.images, "image", "images")]
        if self.encodes is not None:
            facts += lookup_facts(self.hits, self.misses, self.store_hits)
            facts.append((format_size(self.nbytes), "held"))
        spent = [(format_seconds(seconds), stage) for stage, seconds in self.seconds.items()]
        facts += [(value, stage) for value, stage in spent if value != "0 ms"]
        return said_html(self.question, self.text) + facts_html(f"Turn {self.index}", facts)


def breakdown(spent: StageTotals, ttft: float) -> dict[str, float]:
    """Split the seconds up to the first token into those of each stage, and prefill for the rest."""
    seconds = {stage: float(spent.seconds[stage]) for stage in STAGES}
    return {**seconds, "prefill": max(0.0, ttft - sum(seconds.values()))}
