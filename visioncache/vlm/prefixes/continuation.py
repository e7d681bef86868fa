"""Continuation: mlx-vlm's own prefill of a prompt, with the stretches that are known left out.

mlx-vlm's `generate_step` embeds the whole prompt, then calls the language model stretch by stretch. It is
given the model in a wrapper: the whole prompt is embedded as ever, it is told where to pause, and the
language model is not called for what is known; its keys and values are put into the caches instead. So
whatever goes with the rest (positions, masks, DeepStack, inputs of each layer) is what would go with it
there, for it is the same call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from mlx_vlm.generate import common
from mlx_vlm.models.base import LanguageModelOutput

from visioncache.vlm.families.left_out import ONLY_EMBEDDED, UNPROVEN
from visioncache.vlm.prefixes.boundaries import boundaries
from visioncache.vlm.prefixes.options import settings, unfit, unfit_caches
from visioncache.vlm.prefixes.reading import CALLERS, Prompt
from visioncache.vlm.prefixes.segments import fits, put, refusal
from visioncache.vlm.prefixes.wrappers import WrappedLanguageModel, WrappedModel, notes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from visioncache.vlm.attach import Attached
    from visioncache.vlm.prefixes.lookup import Prefixes, Segment

_WHOLE = 1 << 30
"""More tokens than a prompt has: what pauses prefill then is only what it is told."""


def continued(
    attached: Attached,
    prefixes: Prefixes,
    original: Callable[..., Any],
    input_ids: Any,
    model: Any,
    pixel_values: Any,
    mask: Any = None,
    **options: Any,
) -> Iterator[Any]:
    """Do what `original`, mlx-vlm's `generate_step`, does with an attached model, but for what is known."""
    tokenizer = getattr(attached.processor, "tokenizer", attached.processor)
    told = (getattr(model.config, "eos_token_id", None), getattr(tokenizer, "eos_token_id", None))
    ends = {token for ids in told for token in (ids if isinstance(ids, list) else [ids]) if token is not None}
    family = attached.family
    prefill = Continuation(
        prefixes,
        model,
        images=family.layout.names,
        ends=ends,
        unproven=UNPROVEN.get(family.name, "a family that is not in the table" if family.recognised else ""),
        specials={*(getattr(tokenizer, "added_tokens_decoder", None) or {})},
    )
    return prefill.steps(original, input_ids, pixel_values, mask, **options)


class UnkeptError(Exception):
    """Say that a stretch did more to the model than its caches hold."""


class Continuation:
    """The prefill of one prompt.

    Args:
        prefixes: where segments are found and kept.
        model: the model.
        images: the names of inputs that only say how images lie in a prompt.
        ends: the tokens that end a turn.
        specials: the tokens that are no text.
        unproven: why nobody has seen that warm is cold in this family; empty where it was seen.
    """

    def __init__(
        self,
        prefixes: Prefixes,
        model: Any,
        *,
        images: Collection[str],
        ends: Collection[int],
        specials: Collection[int],
        unproven: str = "",
    ) -> None:
        self._prefixes = prefixes
        self._model = model
        self._names = {*images, *ONLY_EMBEDDED}
        self._ends = ends
        self._specials = specials
        self._unproven = unproven
        self._pauses: list[int] = []
        self._coming: list[Segment] = []
        self._known: list[Segment] = []
        self._held: list[Segment] = []
        self._at = self._begin = 0
        self._positions: Any = None
        self._tokens = 0
        self._rest = -1
        """Where the stretch begins that waits for the last token; -1 where none does."""
        self._waiting: dict[str, Any] | None = None
        """The inputs of the stretch before the last token, which is prefilled with it."""
        self.refused = ""

    def steps(
        self, original: Callable[..., Any], input_ids: Any, pixel_values: Any, mask: Any, **options: Any
    ) -> Iterator[Any]:
        """Do what `original`, mlx-vlm's `generate_step`, does with the model."""
        self.refused = self._unproven or unfit(original, input_ids, options) or self._prefixes.refusal
        if self.refused:
            self._prefixes.refused = self.refused
            yield from original(input_ids, self._model, pixel_values, mask, **options)
            return
        self._step = options.pop("prefill_step_size", common.DEFAULT_PREFILL_STEP_SIZE)
        self._options = options
        language_model = WrappedLanguageModel(self._model.language_model, self._prefill)
        model = WrappedModel(self._model, self._embed, language_model)
        own = {
            "prefill_step_size": _WHOLE,
            "prompt_cache_checkpoint": lambda *_: None,
            "prompt_cache_checkpoint_len": None,
            "prompt_cache_checkpoint_lengths": self._pauses,  # filled before it is read
        }
        try:
            yield from original(input_ids, model, pixel_values, mask, **{**options, **own})
        finally:
            try:
                self._finish()
            except KeyboardInterrupt:  # which may strike as it begins
                self._finish()
                raise

    # The prompt is embedded -----------------------------------------------------------------------

    def _embed(self, input_ids: Any, pixel_values: Any = None, *, mask: Any = None, **inputs: Any) -> Any:
        with self._prefixes.embedding() as shown:
            embedded = self._model.get_input_embeddings(input_ids, pixel_values, mask=mask, **inputs)
        given = {name: value for name, value in embedded.to_dict().items() if value is not None}
        # As in mlx-vlm, what a caller says of positions counts, and not what the model made of it.
        given |= {name: inputs[name] for name in CALLERS if inputs.get(name) is not None}
        whole = {**inputs, **given}
        tokens = embedded.inputs_embeds.shape[1]
        self._prefixes.count(prompts=1, tokens=tokens)
        chunked = common._chunked_prefill_enabled(  # noqa: SLF001
            self._model,
            input_ids=input_ids,
            inputs_embeds=embedded.inputs_embeds,
            prompt_cache=self._options.get("prompt_cache"),
            prefill_kwargs={n: v for n, v in whole.items() if n != "inputs_embeds"},
        )
        if not chunked:
            self.refused = "mlx-vlm prefills such a prompt in one piece"
        elif given.keys() & {"cross_attention_states", "decoder_inputs_embeds"}:
            self.refused = "what it sees of images lies beside the prompt, not in it"
        else:
            pixels = {"pixel_values": pixel_values, **inputs}
            self._plan(Prompt(self._model, np.array(input_ids[0]), shown, given, pixels, mask))
        if self.refused and chunked:
            self._pauses[:] = range(self._step, tokens, self._step)
        self._prefixes.refused = self.refused
        return embedded

    def _plan(self, prompt: Prompt) -> None:
        try:
            spelling = prompt.spelled(self._names, self._specials)
        except ValueError as error:
            self.refused = str(error)
            return
        if self._prefixes.pauses == "steps":
            spelling.later = prompt.noted()
        elif prompt.counts_padding():
            self.refused = "the prompt is padded, and the language model counts its positions by itself"
            return
        else:
            self._positions = prompt.positions()
        pauses = boundaries(
            spelling.ids,
            spelling.spans,
            self._ends,
            step=self._step,
            pauses=self._prefixes.pauses,
            shortest=self._prefixes.shortest,
        )
        self._tokens = len(spelling.ids)
        if self._prefixes.pauses == "content" and pauses:
            self._rest = pauses[-1]
        self._coming = self._prefixes.segments(spelling, pauses, settings(self._options))
        self._known = self._prefixes.find(self._coming, self._held)
        self._pauses[:] = pauses
        if self._known and self._options.get("kv_bits") is None:
            # In one go; where caches are quantised on the way, stretch by stretch, as they were.
            self._pauses[: len(self._known)] = [self._known[-1].end]

    # The language model is called -----------------------------------------------------------------

    def _prefill(self, call: Callable[..., Any], *args: Any, cache: Any = None, **inputs: Any) -> Any:
        embeddings = inputs.get("inputs_embeds")
        begin, self._begin = self._begin, self._begin + (0 if embeddings is None else embeddings.shape[1])
        if self._waiting is not None:
            inputs = self._joined(args[0], embeddings)
            args = ()
            begin = self._begin - inputs["n_to_process"]
        if self._positions is not None and self._begin > begin:
            axis = self._positions.shape.index(self._tokens)
            inputs["position_ids"] = mx.take(self._positions, mx.arange(begin, self._begin), axis=axis)
        if begin == self._rest and self._begin == self._tokens - 1:  # whether anything is kept or not
            self._finish()
            self._waiting = inputs
            return LanguageModelOutput(logits=None)
        if not self._coming:
            return call(*args, cache=cache, **inputs)
        # Caches are quantised on the way, in ways that can't be cut too.
        if reason := unfit_caches(cache) if self._at == 0 else refusal(cache):
            self._give_up(reason)
            return call(*args, cache=cache, **inputs)
        end = self._at + (0 if embeddings is None else embeddings.shape[1])
        known = [one for one in self._known if self._at <= one.begin and one.end <= end]
        self._at = end
        if known and known[-1].end == end:
            return self._put(known, call, args, cache, inputs)
        following = self._coming[len(self._known)] if len(self._known) < len(self._coming) else None
        if known or following is None or following.end != end:
            self._give_up("" if end > self._coming[-1].end else "prefill paused elsewhere")
            return call(*args, cache=cache, **inputs)
        return self._keep(following, call, args, cache, inputs)

    def _joined(self, last: Any, embeddings: Any) -> dict[str, Any]:
        """Join the stretch that waits and the last token: one call of the language model instead of two."""
        waiting, self._waiting = self._waiting or {}, None
        sides = [waiting["inputs_embeds"], embeddings]
        return {
            **waiting,
            "inputs": mx.concatenate([waiting["inputs"], last], axis=1),
            "inputs_embeds": mx.concatenate(sides, axis=1),
            "n_to_process": sum(side.shape[1] for side in sides),
        }

    def _put(
        self, known: list[Segment], call: Callable[..., Any], args: Any, caches: Any, inputs: dict[str, Any]
    ) -> Any:
        if not all(fits(caches, one.specs) for one in known):
            self._give_up("what is kept is for other caches")
            return call(*args, cache=caches, **inputs)
        room = self._tokens - known[-1].end if known == self._known else 0
        put(caches, [(one.value or [], one.specs) for one in known], room)
        self._prefixes.count(reused=sum(one.tokens for one in known))
        return LanguageModelOutput(logits=None)

    def _keep(
        self, segment: Segment, call: Callable[..., Any], args: Any, caches: Any, inputs: dict[str, Any]
    ) -> Any:
        outputs: list[Any] = []

        def prefill() -> Any:
            before = notes(call)
            outputs.append(call(*args, cache=caches, **inputs))
            given = {id(value) for value in inputs.values()}  # noted again with every stretch
            if any(
                before.get(name) is not note and id(note) not in given for name, note in notes(call).items()
            ):
                raise UnkeptError("the language model notes something of what it reads, beside its caches")
            return caches

        try:
            held = self._prefixes.fill(segment, prefill, self._held)
        except UnkeptError as error:
            if not outputs:  # another thread's
                outputs.append(call(*args, cache=caches, **inputs))
            self._give_up(str(error))
            return outputs[0]
        if outputs:
            self._known.append(segment)
            if not held:
                self._give_up("")  # what comes behind it would lead nowhere
            return outputs[0]
        if not held:  # another thread computed it, and it is gone again
            self._give_up("")
            return call(*args, cache=caches, **inputs)
        self._known.append(segment)
        return self._put([segment], call, args, caches, inputs)

    def _give_up(self, reason: str) -> None:
        """Keep nothing more of this prompt, and leave nothing more out."""
        if reason:
            self._prefixes.refused = reason
        self._finish()

    def _finish(self) -> None:
        self._coming = []
        while self._held:  # from the last to the first, each until it is released
            self._prefixes.release(self._held[-1:])
            self._held.pop()
