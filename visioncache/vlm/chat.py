"""Chat: a multi-turn conversation about images, and what each of its turns took."""

from __future__ import annotations

import secrets
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import mlx_vlm
from mlx_vlm.prompt_utils import apply_chat_template

from visioncache.events import new_request
from visioncache.vlm.attach import attach
from visioncache.vlm.patching import mlx_vlm as hooks
from visioncache.vlm.request.image import hold, key_of
from visioncache.vlm.request.lists import in_list
from visioncache.vlm.turn import Turn, breakdown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from visioncache.cache import VisionFeatureCache
    from visioncache.keys import Key
    from visioncache.vlm.timing import Stages
    from visioncache.vlm.warming import Warmed


class Chat:
    """A conversation with an mlx-vlm model, greedy unless `generate` says otherwise.

    Args:
        model: what `mlx_vlm.load` returned first.
        processor: what it returned second.
        cache: where features go; None to work without. The model stays attached until `close()`.
        max_tokens: the longest answer.
        prompt_cache: keep the keys and values of earlier turns too. When an earlier image has been
            replaced, they are dropped: mlx-vlm compares token ids alone.
        on_text: called with each piece of an answer as it comes.
        session: what the cache's events are tagged with, beside the turn, where no tag is set already;
            a name that no other chat has by default.
        generate: further options of `mlx_vlm.stream_generate`.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        cache: VisionFeatureCache | None = None,
        *,
        max_tokens: int = 64,
        prompt_cache: bool = False,
        on_text: Callable[[str], object] | None = None,
        stages: Stages | None = None,
        session: str | None = None,
        **generate: Any,
    ) -> None:
        self.model = model
        self.processor = processor
        self.cache = cache
        self.turns: list[Turn] = []
        self.session = session or f"chat-{secrets.token_hex(4)}"
        self._options = {"temperature": 0.0, "max_tokens": max_tokens, **generate}
        self._on_text = on_text
        self._messages: list[dict[str, Any]] = []
        self._images: list[Any] = []
        self._next: list[Any] = []
        """Images that were shown, for the next question."""
        self._ahead = 0.0
        self._prompt_cache = PromptCache() if prompt_cache else None
        self._attached = self._owned = None
        if cache is not None:
            self._attached = hooks.find(model, cache)
            if self._attached is None:
                self._attached = self._owned = attach(model, processor, cache)
        self._given_stages = stages

    def show(self, images: Any) -> Warmed | None:
        """Show images with the next question, and encode and prefill them now, while it is being typed.

        Args:
            images: paths, URLs or PIL images, or one of them.

        Returns:
            What became of each; None in a chat without a cache, where nothing is done ahead.
        """
        from visioncache.vlm.warming import name_of, prefill, warm

        attached, images = self._attached, in_list(images)
        if attached is None or not attached.is_attached or not attached.active:
            self._next += images
            return None
        start = time.perf_counter()
        done = warm(attached, images, None, progress=False)
        self._next += [image for image in images if name_of(image) not in done.unreadable]
        if attached.prefixes is not None and not done.interrupted:
            messages, shown = self._with("", self._next)
            done.prefilled = prefill(attached, messages, shown)
        self._ahead += time.perf_counter() - start
        return done

    def ask(self, text: str, images: Any = ()) -> Turn:
        """Ask something, showing further images with it; an exception leaves the chat as it was.

        Args:
            text: the question.
            images: paths, URLs or PIL images, or one of them.

        Raises:
            ValueError: an image can't be read or decoded.
        """
        messages, shown = self._with(text, [*self._next, *in_list(images)])
        held = self.cache.info() if self.cache is not None else None
        pieces, last, tokens, ttft = [], None, [], 0.0
        stream = self._generate(messages, shown)  # lazy: the clock starts before any of its work
        stages = self._stages()
        before = stages.totals() if stages else None
        prefixes = self._attached.prefixes if self._attached is not None else None
        earlier = prefixes.totals() if prefixes is not None else None
        start = time.perf_counter()
        with self._tagged():
            for last in stream:
                if not ttft:
                    ttft = time.perf_counter() - start
                    spent = stages.totals().since(before) if stages and before else None
                if last.token is not None and last.finish_reason is None:
                    tokens.append(int(last.token))
                pieces.append(last.text)
                if self._on_text is not None:
                    self._on_text(last.text)
        elapsed = time.perf_counter() - start
        if last is None:
            raise RuntimeError("the model generated nothing, not even an end of text")
        answer = "".join(pieces)
        reused = (
            prefixes.totals().since(earlier).reused if prefixes is not None and earlier is not None else 0
        )
        now = self.cache.info() if self.cache is not None else None
        turn = Turn(
            index=len(self.turns) + 1,
            question=text,
            text=answer,
            tokens=tokens,
            images=len(shown),
            prompt_tokens=last.prompt_tokens,
            ttft=ttft,
            elapsed=elapsed,
            seconds=breakdown(spent, ttft) if spent else {},
            encodes=spent.counts["tower"] if spent else None,
            hits=now.hits - held.hits if now and held else 0,
            misses=now.misses - held.misses if now and held else 0,
            store_hits=now.store_hits - held.store_hits if now and held else 0,
            nbytes=now.nbytes if now else 0,
            reused_tokens=last.cached_tokens + reused,
            ahead=self._ahead,
        )
        self._messages = [*messages, {"role": "assistant", "content": answer}]
        self._images, self._next, self._ahead = shown, [], 0.0
        self.turns.append(turn)
        return turn

    def _with(self, text: str, images: Sequence[Any]) -> tuple[list[dict[str, Any]], list[Any]]:
        """Return the conversation's messages and images with a question more."""
        content = [{"type": "image"} for _ in images]
        question = {"role": "user", "content": [*content, {"type": "text", "text": text}]}
        # mlx-vlm opens a str, not a Path.
        new = [str(image) if isinstance(image, Path) else image for image in images]
        return [*self._messages, question], [*self._images, *new]

    def branch(self) -> Self:
        """Another conversation that starts from where this one is; the two go on independently."""
        other = type(self)(
            self.model,
            self.processor,
            self.cache,
            prompt_cache=self._prompt_cache is not None,
            on_text=self._on_text,
            stages=self._given_stages,
            **self._options,
        )
        other.turns = self.turns.copy()
        other._messages = self._messages  # noqa: SLF001  # never mutated, only replaced
        other._images = self._images  # noqa: SLF001
        other._next = self._next.copy()  # noqa: SLF001
        return other

    @property
    def transcript(self) -> str:
        """The conversation so far, as text."""
        lines = [f"> {turn.question}\n{turn.text}" for turn in self.turns]
        return "\n\n".join(lines)

    def close(self) -> None:
        """Detach the model, if this chat attached it."""
        if self._owned is not None:
            self._owned.detach()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _generate(self, messages: list[dict[str, Any]], images: list[Any]) -> Iterator[Any]:
        prompt = apply_chat_template(self.processor, self.model.config, messages, num_images=len(images))
        if self._prompt_cache is None:
            return self._stream(prompt, images, dict(self._options))
        return self._from_state(prompt, images, self._prompt_cache)

    def _from_state(self, prompt: str, images: list[Any], state: PromptCache) -> Iterator[Any]:
        images = self._identified(images)  # once: what is compared is what the model sees
        options = {**self._options, "prompt_cache_state": state.state_for(images)}
        yield from self._stream(prompt, images, options)

    def _identified(self, images: list[Any]) -> list[Any]:
        attached = self._attached
        trusted = attached is not None and attached.is_attached and attached.trust_urls
        stages = self._stages()
        # Nothing is counted here: it is where an attachment is given them.
        with stages.measure("key", times=0) if stages else nullcontext():
            return [hold(image, trust_urls=trusted) for image in images]

    def _tagged(self) -> AbstractContextManager[None]:
        """Where the cache's events are marked as this turn's, unless somebody marked them otherwise."""
        if self.cache is None:
            return nullcontext()
        tags = {"session": self.session, "turn": len(self.turns) + 1, "request": new_request()}
        return self.cache.tag(**{**tags, **self.cache.tags})

    def _stages(self) -> Stages | None:
        """Who counts what a turn takes: nobody, in a chat whose model is attached to nothing."""
        attached = self._attached
        return attached.stages if attached is not None and attached.is_attached else self._given_stages

    def _stream(self, prompt: str, images: list[Any], options: dict[str, Any]) -> Iterator[Any]:
        return iter(
            mlx_vlm.stream_generate(self.model, self.processor, prompt, image=images or None, **options)
        )


class PromptCache:
    """The keys and values of earlier turns, valid while the images that they saw are the same."""

    def __init__(self) -> None:
        self._state: Any = None
        self._keys: list[Key | None] = []

    def state_for(self, images: Sequence[Any]) -> Any:
        """The state to go on from; a new one when an image before this turn has changed, or may have.

        `images` are held: see `hold`.
        """
        from mlx_vlm.generate import PromptCacheState

        keys = [key_of(image) for image in images]
        if self._state is None or None in keys or keys[: len(self._keys)] != self._keys:
            self._state = PromptCacheState()
        self._keys = keys
        return self._state
