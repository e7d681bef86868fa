"""Where prefill pauses: by what is in a prompt, or by mlx-vlm's own steps; what each reuses, costs and changes.

    python benchmarks/prefix_pauses.py                       # the shipped demo model
    python benchmarks/prefix_pauses.py --model qwen2.5-vl-7b --size 1280x960

Each turn of a session is asked without prefixes, with none known yet (cold), and with those of the turns
before (warm), its images known each time. Prints, for either way to pause: the share of tokens reused, the
sums of processor seconds (on a GPU: of seconds) until the first token, whether warm logits are the cold ones
to the last bit, how far they are from those without prefixes, and whether the first tokens are the same.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx_vlm
from attention import repeatable_attention
from gpu_sessions import scaled, size_of
from mlx_vlm.prompt_utils import apply_chat_template
from shapes import SHAPES, build

from visioncache.cache import VisionFeatureCache
from visioncache.study.benchmark.demo import load_model
from visioncache.study.benchmark.sessions import Session, load_session
from visioncache.vlm.attach import attach
from visioncache.vlm.prefixes import Prefixes

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", choices=SHAPES, help="a shape, of random weights; else the demo model")
    parser.add_argument("--size", type=size_of, default=(1280, 960), help="of photographs, with --model")
    parser.add_argument("--session", default="album")
    options = parser.parse_args()
    cpu = mx.default_device().type == mx.DeviceType.cpu
    clock = time.process_time if cpu else time.perf_counter
    with tempfile.TemporaryDirectory() as folder, repeatable_attention():
        if options.model:
            loaded = build(options.model, None, mx.float32 if cpu else mx.bfloat16)
            session = next(scaled([options.session], options.size, Path(folder)))
        else:
            loaded, session = load_model(), load_session(options.session)
        compare(*loaded, session, clock)


def compare(model: Any, processor: Any, session: Session, clock: Callable[[], float]) -> None:
    """Ask every turn every way, twice; the second time counts."""
    prompts = [
        (question(model, processor, session, turn), list(map(str, session.shown(turn))))
        for turn in range(len(session.turns))
    ]
    features = VisionFeatureCache(None)

    def asked(kept: Prefixes | None) -> tuple[float, list[tuple[int, mx.array]]]:
        with attach(model, processor, features, prefixes=kept):
            return total(model, processor, prompts, clock)

    for _ in range(2):
        plain_s, plain = asked(None)
    sys.stdout.write(f"{session.name}: without prefixes {plain_s:.2f} s\n")
    for pauses in ("steps", "content"):
        for _ in range(2):
            cold = [asked_once(model, processor, features, pauses, prompt, clock) for prompt in prompts]
            kept = Prefixes(VisionFeatureCache(None), model, pauses=pauses)
            warm_s, warm = asked(kept)
        told = kept.totals()
        bits = all(
            mx.array_equal(one, other).item() for (_, one), (_, (_, other)) in zip(warm, cold, strict=True)
        )
        far = max(mx.abs(one - other).max().item() for (_, one), (_, other) in zip(warm, plain, strict=True))
        tokens = sum(one == other for (one, _), (other, _) in zip(warm, plain, strict=True))
        sys.stdout.write(
            f"pauses by {pauses}: {told.reused / told.tokens:.0%} of {told.tokens:,} tokens reused; "
            f"cold {sum(seconds for seconds, _ in cold):.2f} s, warm {warm_s:.2f} s; warm is cold to the last "
            f"bit: {'yes' if bits else 'NO'}; from no prefixes {far:.2g} away, {tokens} of {len(plain)} tokens the same\n"
        )


def asked_once(
    model: Any, processor: Any, features: VisionFeatureCache, pauses: Any, prompt: Any, clock: Any
) -> tuple[float, tuple[int, mx.array]]:
    """Ask one turn with nothing known but its images."""
    kept = Prefixes(VisionFeatureCache(None), model, pauses=pauses)
    with attach(model, processor, features, prefixes=kept):
        seconds, answers = total(model, processor, [prompt], clock)
    return seconds, answers[0]


def total(
    model: Any, processor: Any, prompts: list[Any], clock: Callable[[], float]
) -> tuple[float, list[tuple[int, mx.array]]]:
    """Sum the seconds until each first token; give the tokens and their logits."""
    seconds, answers = 0.0, []
    for prompt, images in prompts:
        start = clock()
        first = next(
            iter(
                mlx_vlm.stream_generate(
                    model, processor, prompt, image=images or None, max_tokens=1, temperature=0.0
                )
            )
        )
        seconds += clock() - start
        answers.append((first.token, first.logprobs))
    return seconds, answers


def question(model: Any, processor: Any, session: Session, turn: int) -> str:
    """Write a turn's prompt, with the right answers where those before it would have been."""
    path, place = [turn], turn
    while place and (before := place if session.turns[place].after is None else session.turns[place].after):
        place = before - 1
        path.insert(0, place)
    messages: list[dict[str, Any]] = []
    for number in path:
        item = session.turns[number]
        content = [*({"type": "image"} for _ in item.images), {"type": "text", "text": item.ask}]
        messages.append({"role": "user", "content": content})
        if number != turn:
            messages.append({"role": "assistant", "content": item.expect or "yes"})
    return apply_chat_template(processor, model.config, messages, num_images=len(session.shown(turn)))


if __name__ == "__main__":
    main()
