"""Simulated next versions of mlx-vlm: one plausible change each, and how a cache is to end with it.

    python tests/vlm/simulated.py                       # all
    python tests/vlm/simulated.py NAME ...
    python tests/vlm/simulated.py --believed NAME ...   # as if the table said that it was proven

A change is made to the source while it is imported, so that nothing installed is touched. mlx-vlm and all that
imports it are imported anew for each; what comes out is a line of JSON a change and family. With `--believed`
nothing is compared before it is stored, so that what a change breaks is broken: `visioncache verify` is to find it.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

VERSION = "0.7.99"
ANEW = ("mlx_vlm", "visioncache", "zoo", "harness", "probe")


@dataclass(frozen=True)
class Change:
    """A next version of mlx-vlm."""

    name: str
    families: tuple[str, ...]
    edits: tuple[tuple[str, str, str], ...]
    """Module, what is replaced (a regular expression), by what."""
    ends: tuple[str, ...] = ("refused",)
    """How it may end: `exact`, `refused` in one clear line, or `slow` (exact, without a hit)."""
    later: bool = False
    """It shows only once somebody sets something, or asks about large images or at length: `verify` here does not."""
    keyword: bool = False
    """It shows only where a new keyword is passed, which `visioncache verify` does not."""
    seen: list[str] = field(default_factory=list, compare=False)


def _model(family: str) -> str:
    return f"mlx_vlm.models.{family}.{family}"


def _after(call: str, then: str) -> tuple[str, str]:
    """Do something to what a call is assigned to, on the next line."""
    return rf"( +)(\w+) = (self\.{call}\([^()]*\))\n", rf"\1\2 = \3\n\1\2 = {then}\n"


QWEN = "mlx_vlm.models.qwen3_vl.processing_qwen3_vl"
UTILS, DISPATCH = "mlx_vlm.utils", "mlx_vlm.generate.dispatch"
LLAVAS = "mlx_vlm.models.llava.processing_llava"
_MADE = r"        return BatchFeature\(data=to_mlx\(\{\*\*text_inputs, \*\*image_inputs\}\)\)"
_FEWER = (
    r"(class Qwen3VLImageProcessor[\s\S]*?def __call__\(self, images[^)]*\)[^:]*:\n)",
    (
        r"\1        if isinstance(images, (list, tuple)) and len(images) > 1:\n"
        r"            kwargs = {**kwargs, 'max_pixels': self.max_pixels // (8 * len(images))}\n"
    ),
)
_BRIGHTER = (
    r"(class Qwen3VLImageProcessor[\s\S]*?)def __call__\(",
    (
        r"\1def __call__(self, images, *args, **kwargs):\n"
        r"        found = self._one_by_one(images, *args, **kwargs)\n"
        r"        if isinstance(images, (list, tuple)) and len(images) > 1:\n"
        r"            found['pixel_values'] = found['pixel_values'] - found['pixel_values'].mean()\n"
        r"        return found\n\n    def _one_by_one("
    ),
)
EXACT, REFUSED, SLOW, WRONG = "exact", "refused", "slow", "WRONG"

CHANGES = (
    Change("nothing", ("llava", "gemma3", "qwen2_5_vl", "qwen3_vl", "idefics3", "mistral3"), (), (EXACT,)),
    # A step between the projector and the prompt, in the branch that encodes.
    Change(
        "llava-scale-after-projector",
        ("llava",),
        ((_model("llava"), *_after("multi_modal_projector", r"\2 * 0.5")),),
    ),
    Change(
        "gemma3-norm-after-projector",
        ("gemma3",),
        (
            (
                _model("gemma3"),
                *_after("multi_modal_projector", r"\2 / mx.linalg.norm(\2, axis=-1, keepdims=True)"),
            ),
        ),
    ),
    Change(
        "aya-slightly-scaled",
        ("aya_vision",),
        ((_model("aya_vision"), *_after("multi_modal_projector", r"\2 * 1.01")),),
    ),
    Change(
        "hardly-scaled",  # by less than several images may differ
        ("llava", "gemma3"),
        (
            *(
                (_model(family), *_after("multi_modal_projector", r"\2 * 1.0001"))
                for family in ("llava", "gemma3")
            ),
        ),
    ),
    Change(
        "pixtral-reversed-after-projector",
        ("pixtral",),
        ((_model("pixtral"), *_after("multi_modal_projector", r"\2[..., ::-1]")),),
    ),
    Change(
        "kimi-bias-after-projector",
        ("kimi_vl",),
        ((_model("kimi_vl"), *_after("multi_modal_projector", r"\2 + 0.25")),),
    ),
    Change(
        "mistral3-clip-after-projector",
        ("mistral3",),
        ((_model("mistral3"), *_after("multi_modal_projector", r"mx.clip(\2, -0.01, 0.01)")),),
    ),
    Change(
        "paligemma-tanh-after-projector",
        ("paligemma",),
        ((_model("paligemma"), *_after("multi_modal_projector", r"mx.tanh(\2)")),),
    ),
    Change(
        "idefics3-scale-after-connector",
        ("idefics3", "smolvlm"),
        ((_model("idefics3"), *_after("connector", r"\2 * 2")),),
    ),
    Change(
        "fastvlm-noise-after-projector",
        ("fastvlm",),
        ((_model("fastvlm"), *_after("mm_projector", r"\2 * mx.cos(mx.arange(\2.shape[-1]))")),),
    ),
    # The keyword gets another name.
    *(
        Change(
            f"{family}-kwarg-renamed",
            (family,),
            (
                (
                    _model(family),
                    r'kwargs\.get\("cached_image_features", None\)',
                    'kwargs.get("image_features", None)',
                ),
            ),
        )
        for family in ("gemma3", "llava", "dots_ocr")
    ),
    # The model reads the pixels beside the seam.
    Change(
        "qwen-global-view-added",
        ("qwen2_5_vl",),
        (
            (
                _model("qwen2_5_vl"),
                r"        # Insert special image tokens in the input_ids\n",
                "        hidden_states = hidden_states + 0.1 * pixel_values.mean()\n",
            ),
        ),
    ),
    Change(
        "gemma3-brightness-added",
        ("gemma3",),
        (
            (
                _model("gemma3"),
                r"        final_inputs_embeds, final_attention_mask_4d = \(\n",
                "        image_features = image_features * (1 + mx.abs(pixel_values).mean())\n\\g<0>",
            ),
        ),
    ),
    # One image's features depend on the others of its request.
    Change(
        "llava-mean-over-images",
        ("llava",),
        (
            (
                _model("llava"),
                *_after("multi_modal_projector", r"\2 - \2.mean(axis=0, keepdims=True) * (len(\2) > 1)"),
            ),
        ),
    ),
    Change(
        "qwen-position-among-images",
        ("qwen2_5_vl",),
        (
            (
                _model("qwen2_5_vl"),
                r"(            hidden_states = self\.vision_tower\([^()]*\)\n)",
                r"\1            hidden_states = hidden_states * (1 + 0.1 * (len(grid_thw) - 1))\n",
            ),
        ),
        (EXACT,),  # what the tower returns is given where it returns, and this is done to it too
    ),
    # The processor decides by how many images a request has.
    Change("qwen-fewer-pixels-for-more-images", ("qwen2_5_vl", "qwen3_vl"), ((QWEN, *_FEWER),)),
    Change("qwen-pixels-centred-over-images", ("qwen2_5_vl",), ((QWEN, *_BRIGHTER),)),
    # What is stored is no longer all that the language model is given.
    Change(
        "qwen3-deepstack-scaled",
        ("qwen3_vl",),
        (
            (
                _model("qwen3_vl"),
                r"                image_deepstack,\n",
                "                [layer * (1 + pixel_values.mean()) for layer in image_deepstack],\n",
            ),
        ),
    ),
    # Names move.
    Change(
        "qwen-tower-renamed",
        ("qwen2_5_vl",),
        ((_model("qwen2_5_vl"), r"self\.vision_tower", "self.visual_tower"),),
    ),
    Change(
        "llava-projector-renamed",
        ("llava",),
        ((_model("llava"), r"self\.multi_modal_projector", "self.projector"),),
    ),
    Change(
        "idefics3-connector-renamed",
        ("idefics3",),
        ((_model("idefics3"), r"self\.connector", "self.bridge"),),
    ),
    Change(
        "llava-projector-bypassed",
        ("llava",),
        (
            (
                _model("llava"),
                r"= self\.multi_modal_projector\(",
                "= type(self.multi_modal_projector).__call__(self.multi_modal_projector, ",
            ),
        ),
        (EXACT, REFUSED),
    ),
    Change(
        "llava-projector-inlined",
        ("llava",),
        (
            (
                _model("llava"),
                r"= self\.multi_modal_projector\((\w+)\)",
                (
                    "= self.multi_modal_projector.linear_2(self.multi_modal_projector.gelu("
                    "self.multi_modal_projector.linear_1(\\1)))"
                ),
            ),
        ),
    ),
    Change(
        "process_image-renamed",
        ("llava", "qwen2_5_vl"),
        (
            (UTILS, r"\bprocess_image\(", "_process_one_image("),
            ("mlx_vlm", "prepare_inputs, process_image", "prepare_inputs"),
        ),
    ),
    Change(
        "process_image-unused",
        ("llava", "qwen2_5_vl"),
        (
            (UTILS, r"images = \[process_image\(img", "images = [_open_one(img"),
            (
                UTILS,
                r"def process_image\(",
                (
                    "def _open_one(*args):\n    return _process_image(*args)\n\n\n"
                    "def process_image(*args):\n    return _process_image(*args)\n\n\ndef _process_image("
                ),
            ),
        ),
        (EXACT, SLOW, REFUSED),
    ),
    Change(
        "generate_step-moved",
        ("llava", "qwen2_5_vl"),
        (
            (DISPATCH, r"\bgenerate_step\b", "_generate_step"),
            (DISPATCH, r"import _generate_step\b", "import generate_step as _generate_step"),
        ),
        (REFUSED, EXACT),
    ),
    Change(
        "pixels-copied-in-prepare_inputs",
        ("llava", "qwen2_5_vl"),
        (
            (
                UTILS,
                r"    return model_inputs\n\n\ndef group_images_by_shape",
                (
                    "    if isinstance(model_inputs.get('pixel_values'), mx.array):\n"
                    "        model_inputs['pixel_values'] = model_inputs['pixel_values'] + 0\n\\g<0>"
                ),
            ),
        ),
        (EXACT, SLOW, REFUSED),
    ),
    Change(
        "pixels-cast-in-prepare_inputs",
        ("llava", "qwen2_5_vl"),
        (
            (
                UTILS,
                r"    return model_inputs\n\n\ndef group_images_by_shape",
                (
                    "    if isinstance(model_inputs.get('pixel_values'), mx.array):\n"
                    "        model_inputs['pixel_values'] = model_inputs['pixel_values'].astype(mx.bfloat16)\n\\g<0>"
                ),
            ),
        ),
        (EXACT, SLOW, REFUSED),
    ),
    Change(
        "call-bypasses-entrance",
        ("llava",),
        (
            (
                _model("llava"),
                r"    def get_input_embeddings\(\n",
                "    def get_input_embeddings(self, *a, **k):\n        return self._embed(*a, **k)\n\n    def _embed(\n",
            ),
            (
                _model("llava"),
                r"input_embeddings_features = self\.get_input_embeddings\(",
                "input_embeddings_features = self._embed(",
            ),
        ),
        (EXACT, SLOW, REFUSED),
    ),
    Change(
        "entrance-renamed",
        ("gemma3",),
        (
            (_model("gemma3"), r"def get_input_embeddings\(", "def get_input_embeds("),
            (
                _model("gemma3"),
                r"    def get_input_embeds\(",
                "    get_input_embeddings = property(lambda self: self.get_input_embeds)\n\n\\g<0>",
            ),
        ),
        (EXACT, SLOW, REFUSED),
    ),
    # A step after the features, in other families' ways to write it.
    *(
        Change(f"{family}-step-in-the-branch", (family,), ((_model(family), call, new),))
        for family, call, new in (
            ("jina_vlm", r"(self\.get_image_features\(pixel_values, image_masks\))", r"\1 * 0.5"),
            ("florence2", r"= (self\._encode_image\(pixel_values\))", r"= mx.tanh(\1)"),
            ("molmo2", r"= (self\.vision_tower\(pixel_values, token_pooling\))", r"= \1 * 0.5"),
            ("phi4mm", r"= (self\.apply_mm_projector\(image_features\))", r"= [one + 0.1 for one in \1]"),
            (
                "lfm2_vl",
                r"(image_features = )cached\n(        else:\n)",
                r"\1cached\n\2            inputs_embeds = inputs_embeds * 2\n",
            ),
            (
                "gemma3n",
                r"(            modality = \"image\"\n)",
                r"            image_features = image_features + pixel_values.mean()\n\1",
            ),
        )
    ),
    *(
        Change(
            f"{family}-kwarg-renamed",
            (family,),
            (
                (
                    _model(family),
                    r'kwargs\.get\("cached_image_features", None\)',
                    'kwargs.get("features", None)',
                ),
            ),
        )
        for family in ("molmo2", "glm4v", "internvl_chat", "lfm2_vl", "phi4mm")
    ),
    # Only some requests show it.
    Change(
        "llava-norm-of-three",
        ("llava",),
        ((_model("llava"), *_after("multi_modal_projector", r"\2 * (0.5 if len(\2) > 2 else 1)")),),
    ),
    Change(
        "qwen-fewer-pixels-for-three",
        ("qwen3_vl",),
        ((QWEN, _FEWER[0], _FEWER[1].replace("> 1", "> 2")),),
    ),
    Change(
        "pixtral-norm-of-large-images",
        ("pixtral",),
        ((_model("pixtral"), *_after("multi_modal_projector", r"\2 * (0.5 if \2.shape[-2] > 40 else 1)")),),
    ),
    # A setting of the environment, or of a module, that somebody sets later.
    Change(
        "gemma3-gain-of-the-environment",
        ("gemma3",),
        (
            (
                _model("gemma3"),
                *_after(
                    "multi_modal_projector", r"\2 * float(__import__('os').environ.get('DRIFT_GAIN', '1'))"
                ),
            ),
        ),
        later=True,
    ),
    Change(
        "glm4v-gain-of-the-module",
        ("glm4v",),
        (
            (_model("glm4v"), r"\nclass Model\(", "\nDRIFT_GAIN = [1.0]\n\n\nclass Model("),
            (
                _model("glm4v"),
                r"            hidden_states = (mx\.concatenate\(hidden_states, axis=0\))",
                r"            hidden_states = (\1 * DRIFT_GAIN[0])",
            ),
        ),
        later=True,
    ),
    # Names, arguments and defaults move.
    Change(
        "qwen-image-processor-renamed",
        ("qwen2_5_vl", "qwen3_vl"),
        (
            (QWEN, r"\bQwen3VLImageProcessor\b", "Qwen3VLPixels"),
            (QWEN, r"\Z", "\n\nQwen3VLImageProcessor = Qwen3VLPixels\n"),
        ),
        (EXACT, REFUSED),
    ),
    Change(
        "qwen-image-processor-default",
        ("qwen3_vl",),
        ((QWEN, r"image_mean or \[0\.5,", "image_mean or [0.25,"),),
        (EXACT,),
    ),
    Change(
        "llava-pixels-by-another-name",
        ("llava",),
        (
            (
                _model("llava"),
                r"pixel_values: Optional\[mx\.array\] = None,\n        \*\*kwargs,\n    \):\n",
                "images=None,\n        **kwargs,\n    ):\n        pixel_values = images\n",
            ),
        ),
    ),
    Change(
        "pixels-scaled-in-prepare_inputs",
        ("gemma3", "molmo2"),
        (
            (
                UTILS,
                r"    return model_inputs\n\n\ndef group_images_by_shape",
                (
                    "    if isinstance(model_inputs.get('pixel_values'), mx.array):\n"
                    "        model_inputs['pixel_values'] = model_inputs['pixel_values'] * 0.5\n\\g<0>"
                ),
            ),
        ),
        (EXACT, SLOW, REFUSED),
    ),
    # An image's features depend on its prompt.
    Change(
        "pixels-by-the-prompts-length",
        ("llava", "gemma3", "paligemma"),
        (
            *(
                (
                    _model(family),
                    r"(self\.vision_tower\(\n\s+)pixel_values\.transpose",
                    r"\1(pixel_values * (input_ids.shape[1] / 64)).transpose",
                )
                for family in ("llava", "gemma3", "paligemma")
            ),
        ),
    ),
    Change(
        "pixels-by-the-prompts-last-word",
        ("llava", "gemma3", "idefics3"),
        (
            *(
                (
                    _model(family),
                    r"(pixel_values\.transpose\(0, 2, 3, 1\))",
                    r"\1 * (1 + 0.1 * (input_ids[0, -1] % 7))",
                )
                for family in ("llava", "gemma3", "idefics3")
            ),
        ),
    ),
    Change(
        "qwen-features-by-token-types",
        ("qwen2_5_vl",),
        (
            (
                _model("qwen2_5_vl"),
                r"                pixel_values, grid_thw, output_hidden_states=False\n",
                (
                    "                pixel_values * (1 + (input_ids == self.config.image_token_id).mean()),\n"
                    "                grid_thw, output_hidden_states=False\n"
                ),
            ),
        ),
    ),
    # Another input decides.
    Change(
        "features-by-a-new-keyword",
        ("llava", "gemma3", "paligemma"),
        (
            *(
                (_model(family), *_after("multi_modal_projector", r"\2 * kwargs.get('drift_gain', 1.0)"))
                for family in ("llava", "gemma3", "paligemma")
            ),
        ),
        later=True,
        keyword=True,
    ),
    Change(
        "qwen-pixels-by-a-new-keyword",
        ("qwen2_5_vl", "qwen3_vl"),
        (
            *(
                (
                    _model(family),
                    r"pixel_values\.astype\(dtype\)",
                    "pixel_values.astype(dtype) * kwargs.get('drift_gain', 1.0)",
                )
                for family in ("qwen2_5_vl", "qwen3_vl")
            ),
        ),
        later=True,
        keyword=True,
    ),
    # The request's other images decide.
    Change(
        "features-by-the-number-of-images",
        ("llava", "gemma3", "aya_vision"),
        (
            *(
                (_model(family), *_after("multi_modal_projector", r"\2 / len(\2)"))
                for family in ("llava", "gemma3", "aya_vision")
            ),
        ),
    ),
    Change(
        "batch-norm-over-images",
        ("llava", "gemma3"),
        (
            *(
                (
                    _model(family),
                    *_after(
                        "multi_modal_projector",
                        r"(\2 - \2.mean(axis=(0, 1))) * mx.rsqrt(\2.var(axis=(0, 1)) + 1e-6)",
                    ),
                )
                for family in ("llava", "gemma3")
            ),
        ),
    ),
    Change(
        "qwen-positions-by-the-largest-image",
        ("qwen2_5_vl", "qwen3_vl"),
        (
            *(
                (
                    _model(family),
                    r"pixel_values\.astype\(dtype\)",
                    "pixel_values.astype(dtype) * (1 + kwargs['image_grid_thw'].max() / 100)",
                )
                for family in ("qwen2_5_vl", "qwen3_vl")
            ),
        ),
    ),
    Change(
        "qwen-a-budget-of-pixels-for-all-images",
        ("qwen2_5_vl", "qwen3_vl"),
        (
            (
                QWEN,
                r"(class Qwen3VLImageProcessor[\s\S]*?def __call__\(self, images[^)]*\)[^:]*:\n)",
                (
                    r"\1        several = images if isinstance(images, (list, tuple)) else [images]\n"
                    r"        if len(several) > 1 and sum(i.width * i.height for i in several) > 30000:\n"
                    r"            kwargs = {**kwargs, 'max_pixels': 4096}\n"
                ),
            ),
        ),
        later=True,
    ),
    # Numbers of another type, another pooling, a tower that runs twice.
    Change(
        "features-cast",
        ("llava", "gemma3", "paligemma", "kimi_vl"),
        (
            *(
                (
                    _model(family),
                    *_after("multi_modal_projector", r"\2.astype(mx.bfloat16).astype(mx.float32)"),
                )
                for family in ("llava", "gemma3", "paligemma", "kimi_vl")
            ),
        ),
    ),
    Change(
        "pixels-normalised-in-the-model",
        ("llava", "gemma3", "paligemma", "idefics3"),
        (
            *(
                (
                    _model(family),
                    r"(pixel_values)(\.transpose\(0, 2, 3, 1\))",
                    r"((\1 - \1.mean(axis=(1, 2, 3), keepdims=True)) * 2)\2",
                )
                for family in ("llava", "gemma3", "paligemma", "idefics3")
            ),
        ),
        (EXACT, REFUSED),  # their mean, summed in another order, has other last bits
    ),
    Change(
        "gemma3-another-pooling",
        ("gemma3", "aya_vision"),
        (
            *(
                (
                    _model(family),
                    *_after("multi_modal_projector", r"0.5 * \2 + 0.5 * \2.max(axis=1, keepdims=True)"),
                )
                for family in ("gemma3", "aya_vision")
            ),
        ),
    ),
    Change(
        "projector-called-twice",
        ("llava", "gemma3", "paligemma"),
        (
            *(
                (
                    _model(family),
                    r"( +)image_features = self\.multi_modal_projector\((\w+)\)\n",
                    (
                        r"\1image_features = self.multi_modal_projector(\2)\n"
                        r"\1image_features = 0.5 * (image_features + self.multi_modal_projector(-\2))\n"
                    ),
                )
                for family in ("llava", "gemma3", "paligemma")
            ),
        ),
    ),
    Change(
        "llava-tower-called-twice",
        ("llava",),
        (
            (
                _model("llava"),
                r"            # Select the hidden states from the desired layer\n",
                (
                    "            *_, flipped = self.vision_tower(\n"
                    "                pixel_values.transpose(0, 2, 3, 1)[:, :, ::-1], output_hidden_states=True\n"
                    "            )\n"
                    "            hidden_states = [one + other for one, other in zip(hidden_states, flipped)]\n"
                ),
            ),
        ),
        (EXACT,),
    ),
    # mlx-vlm keeps features itself, or something from one request to the next.
    Change(
        "features-kept-by-the-model",
        ("llava", "gemma3"),
        (
            *(
                (
                    _model(family),
                    r"( +)image_features = self\.multi_modal_projector\((\w+)\)\n",
                    (
                        r"\1import numpy\n"
                        r"\1own = self.__dict__.setdefault('_kept', {})\n"
                        r"\1name = numpy.array(pixel_values).tobytes()\n"
                        r"\1image_features = own[name] if name in own else self.multi_modal_projector(\2)\n"
                        r"\1own[name] = image_features\n"
                    ),
                )
                for family in ("llava", "gemma3")
            ),
        ),
        (EXACT, SLOW, REFUSED),
    ),
    # More than features is given to the language model, or in another form.
    Change(
        "deepstack-features-added",
        ("llava", "gemma3", "idefics3"),
        (
            *(
                (
                    _model(family),
                    r"( +)return InputEmbeddingsFeatures\(\s*inputs_embeds=final_inputs_embeds",
                    (
                        r"\1return InputEmbeddingsFeatures(deepstack_visual_embeds=pixel_values * 1.0, "
                        r"inputs_embeds=final_inputs_embeds"
                    ),
                )
                for family in ("llava", "gemma3", "idefics3")
            ),
        ),
    ),
    Change(
        "embeddings-of-another-class",
        ("llava", "idefics3"),
        (
            *(
                (
                    _model(family),
                    r"return InputEmbeddingsFeatures\(inputs_embeds=final_inputs_embeds\)",
                    "return type('Embedded', (InputEmbeddingsFeatures,), {})(inputs_embeds=final_inputs_embeds)",
                )
                for family in ("llava", "idefics3")
            ),
        ),
        (EXACT,),
    ),
    Change(
        "language-model-reads-pixels",
        ("llava", "gemma3", "paligemma"),
        (
            (
                "mlx_vlm.generate.ar",
                r"(        embedding_output = model\.get_input_embeddings\([^()]*\)\n)",
                (
                    r"\1        if pixel_values is not None:\n"
                    r"            embedding_output.inputs_embeds += mx.array(pixel_values).mean()\n"
                ),
            ),
        ),
    ),
    # A processor that gives other tokens for several images.
    Change(
        "llava-fewer-tokens-together",
        ("llava",),
        (
            (
                "mlx_vlm.models.llava.processing_llava",
                r"(        return BatchFeature\()",
                (
                    r"        if len(image_inputs.get('pixel_values', ())) > 1:\n"
                    r"            text_inputs['input_ids'] = [ids[:-1] for ids in text_inputs['input_ids']]\n"
                    r"            text_inputs['attention_mask'] = [one[:-1] for one in text_inputs['attention_mask']]\n\1"
                ),
            ),
        ),
        (EXACT,),
    ),
    # Images are opened in another way, or the processor does more after its image processor.
    Change(
        "process_image-darkens",
        ("llava", "qwen2_5_vl"),
        (
            (
                UTILS,
                r"        img = load_image\(img\)\n",
                r"\g<0>    if hasattr(img, 'point'):\n        img = img.convert('RGB').point(lambda x: x // 2)\n",
            ),
        ),
    ),
    Change(
        "process_image-shrinks-large-images",
        ("llava", "qwen2_5_vl"),
        (
            (
                UTILS,
                r"        img = load_image\(img\)\n",
                r"\g<0>    if hasattr(img, 'resize') and img.width > 200:\n        img = img.resize((100, 80))\n",
            ),
        ),
        later=True,
    ),
    Change(
        "load_image-mirrors",
        ("llava", "qwen2_5_vl"),
        ((UTILS, r"    return (image\.convert\(.RGB.\))\n", r"    return ImageOps.mirror(\1)\n"),),
        later=True,
    ),
    Change(
        "llava-processor-scales-large-images",
        ("llava",),
        (
            (
                LLAVAS,
                _MADE,
                (
                    "        if image_inputs and any(image.width > 200 for image in images):\n"
                    "            image_inputs['pixel_values'] = [p * 0.5 for p in image_inputs['pixel_values']]\n\\g<0>"
                ),
            ),
        ),
        later=True,
    ),
    Change(
        "llava-processor-divides-by-the-number-of-images",
        ("llava",),
        (
            (
                LLAVAS,
                _MADE,
                (
                    "        if image_inputs:\n"
                    "            made = image_inputs['pixel_values']\n"
                    "            image_inputs['pixel_values'] = [p / len(made) for p in made]\n\\g<0>"
                ),
            ),
        ),
    ),
    Change(
        "llava-another-input-of-the-processor",
        ("llava",),
        (
            (
                LLAVAS,
                _MADE,
                (
                    "        if image_inputs:\n"
                    "            own = [[float(p.mean())] for p in image_inputs['pixel_values']]\n"
                    "            image_inputs['brightness'] = own\n\\g<0>"
                ),
            ),
            (
                _model("llava"),
                *_after("multi_modal_projector", r"\2 * (1 + kwargs['brightness'][..., None])"),
            ),
        ),
    ),
    Change(
        "llava-pixels-in-a-list",
        ("llava",),
        (
            (
                LLAVAS,
                _MADE,
                (
                    "        found = to_mlx({**text_inputs, **image_inputs})\n"
                    "        if image_inputs:\n"
                    "            found['pixel_values'] = list(found['pixel_values'])\n"
                    "        return BatchFeature(data=found)"
                ),
            ),
            (_model("llava"), r"pixel_values(\.transpose)", r"mx.stack(list(pixel_values))\1"),
        ),
        (EXACT, REFUSED),
    ),
    # Features are made in another order, or by another part.
    Change(
        "projector-image-by-image",
        ("llava", "gemma3"),
        (
            *(
                (
                    _model(family),
                    r"= self\.multi_modal_projector\((\w+)\)\n",
                    r"= mx.concatenate([*(self.multi_modal_projector(one[None]) for one in \1)])\n",
                )
                for family in ("llava", "gemma3")
            ),
        ),
        (EXACT, REFUSED),
    ),
    Change(
        "llava-projector-a-property",
        ("llava",),
        (
            (_model("llava"), r"self\.multi_modal_projector = ", "self._projector = "),
            (
                _model("llava"),
                r"    def get_input_embeddings\(",
                "    multi_modal_projector = property(lambda self: self._projector)\n\n\\g<0>",
            ),
        ),
        (EXACT, REFUSED),
    ),
    Change(
        "brighter-behind-the-first-image",
        ("llava", "gemma3"),
        (
            *(
                (
                    _model(family),
                    *_after("multi_modal_projector", r"mx.concatenate([\2[:1], \2[1:] * 1.1])"),
                )
                for family in ("llava", "gemma3")
            ),
        ),
    ),
    Change(
        "qwen-tower-returns-a-pair",
        ("qwen2_5_vl",),
        (
            (
                _model("qwen2_5_vl"),
                r"(            hidden_states = self\.vision_tower\([^()]*\)\n)",
                r"\1            hidden_states, _ = hidden_states\n",
            ),
            (
                "mlx_vlm.models.qwen2_5_vl.vision",
                r"        return hidden_states\n(?=\n    def sanitize)",
                "        return hidden_states, None\n",
            ),
        ),
        (EXACT, REFUSED),
    ),
    Change(
        "qwen-clips-large-images",
        ("qwen2_5_vl", "qwen3_vl"),
        (
            (
                QWEN,
                r"        C, H, W = image\.shape\n",
                r"\g<0>        if H * W > 20000:\n            image = np.minimum(image, 128)\n",
            ),
        ),
        (EXACT,),
    ),
    Change(
        "features-and-a-little-of-the-prompt",  # less than several images may differ by
        ("llava", "gemma3"),
        (
            *(
                (_model(family), *_after("multi_modal_projector", r"\2 + 0.01 * inputs_embeds.mean()"))
                for family in ("llava", "gemma3")
            ),
        ),
    ),
    Change(
        "scatter-squashes",
        ("gemma3",),
        (
            (
                _model("gemma3"),
                r"= (mx\.flatten\(scaled_image_features\))",
                r"= mx.tanh(\1)",
            ),
        ),
        (EXACT, REFUSED),
    ),
    Change(
        "llava-gain-of-the-environment-by-a-function",
        ("llava",),
        (
            (
                _model("llava"),
                *_after("multi_modal_projector", r"\2 * float(__import__('os').getenv('DRIFT_GAIN', '1'))"),
            ),
        ),
        later=True,
    ),
)

_PROJECTORS = {
    "gemma3": "multi_modal_projector",
    "idefics3": "connector",
    "llava": "multi_modal_projector",
    "mistral3": "multi_modal_projector",
}


def _features(
    name: str, then: str, *families: str, ends: tuple[str, ...] = (REFUSED,), later: bool = False
) -> Change:
    """A version that does something more to the features."""
    chosen = families or tuple(_PROJECTORS)
    edits = tuple((_model(one), *_after(_PROJECTORS[one], then)) for one in chosen)
    return Change(name, chosen, edits, ends, later)


def _buffered(where: str) -> str:
    return rf"\2 + {where}.setdefault(\2.shape, \2.mean())"


CHANGES += (
    # The last token of a prompt may be one by which nothing changes.
    _features("features-by-the-last-token", r"\2 * (1 + input_ids[0, -1] * 0.001)", "llava", "gemma3"),
    _features("features-by-the-number-of-rows", r"\2 * (1 + 0.01 * \2.shape[0])"),
    _features("features-with-their-places", r"\2 + 0.01 * mx.arange(\2.shape[-1])"),
    _features("features-scaled-by-the-config", r"\2 * getattr(self.config, 'feature_scale', 0.5)"),
    _features("features-in-half-precision", r"\2.astype(mx.float16).astype(\2.dtype)"),
    _features("features-of-the-prompts-dtype", r"\2.astype(inputs_embeds.dtype)", ends=(EXACT,)),
    _features("features-with-a-little-of-all-tokens", r"\2 + 0.001 * input_ids.sum()"),
    _features("features-over-the-requests-largest", r"\2 / mx.abs(\2).max()"),
    _features("features-less-the-requests-mean", r"\2 - \2.mean()"),
    _features("first-image-doubled", r"mx.concatenate([\2[:1] * 2, \2[1:]])", "llava", "gemma3"),
    _features("features-from-the-end", r"\2[:, ::-1]", "llava", "gemma3"),
    _features(
        "a-buffer-by-shape",
        _buffered("self.__dict__.setdefault('buffers', {})"),
        "llava",
        "gemma3",
        "idefics3",
    ),
    Change(
        "pixels-clipped-where-there-are-several",
        ("llava", "gemma3", "mistral3"),
        tuple(
            (
                _model(one),
                r"pixel_values(?=\.transpose\(0, 2, 3, 1\))",
                "(mx.clip(pixel_values, -0.2, 0.2) if pixel_values.shape[0] > 1 else pixel_values)",
            )
            for one in ("llava", "gemma3", "mistral3")
        ),
    ),
    Change(
        "pixels-mirrored-by-the-prompts-length",
        ("llava", "gemma3"),
        tuple(
            (
                _model(one),
                r"pixel_values(?=\.transpose\(0, 2, 3, 1\))",
                "(pixel_values if input_ids.shape[1] % 2 else pixel_values[..., ::-1])",
            )
            for one in ("llava", "gemma3")
        ),
    ),
    Change(
        "processor-pads-images-together",
        ("qwen2_5_vl", "qwen3_vl"),
        (
            (
                QWEN,
                r"(class Qwen3VLImageProcessor[\s\S]*?        for v in imgs:\n)",
                (
                    r"\1            wide = max(one.shape[2] for one in imgs)\n"
                    r"            v = np.pad(v, ((0, 0), (0, 0), (0, wide - v.shape[2])))\n"
                ),
            ),
        ),
    ),
    Change(
        "a-new-keyword-of-the-processor",
        ("qwen2_5_vl", "qwen3_vl"),
        (
            (
                QWEN,
                r"(def _process_one\(\n        self,\n        image: np.ndarray,)",
                r"\1\n        gain: float = 0.9,",
            ),
            (
                QWEN,
                r"        C, H, W = image\.shape\n",
                r"\g<0>        image = (image * gain).astype(image.dtype)\n",
            ),
        ),
        (EXACT,),
    ),
    Change(
        "prepare_inputs-darkens-several",
        ("llava", "gemma3"),
        (
            (
                UTILS,
                r"        images = \[process_image\(img, resize_shape, image_processor\) for img in images\]\n",
                (
                    r"\g<0>        if len(images) > 1:\n"
                    r"            images = [one.point(lambda x: x // 2) for one in images]\n"
                ),
            ),
        ),
        (EXACT, REFUSED, SLOW),
    ),
)


_ONES = ("llava", "gemma3")
_SEVERAL_AT_ONCE = r"(class Qwen3VLImageProcessor[\s\S]*?def __call__\(self, images[^)]*\)[^:]*:\n)"
_PREPARED = r"    return model_inputs\n\n\ndef group_images_by_shape"


CHANGES += (
    # A step that only some images, or some prompts, show: none of those that were compared.
    _features(
        "features-halved-in-long-prompts",
        r"\2 * (0.5 if input_ids.shape[1] > 300 else 1)",
        *_ONES,
        later=True,
    ),
    _features("features-clipped-where-they-are-large", r"mx.clip(\2, -2, 2)"),
    _features(
        "features-by-the-number-of-their-tokens",
        r"\2 * ((input_ids == self.config.image_token_index).sum() ** 0.5)",
    ),
    _features("features-by-their-images-place", r"\2 + 0.05 * mx.arange(len(\2))[:, None, None]", *_ONES),
    _features("images-in-the-opposite-order", r"\2[::-1]", *_ONES),
    _features(
        "features-of-several-in-half-precision",
        r"(\2.astype(mx.float16).astype(\2.dtype) if len(\2) > 1 else \2)",
        *_ONES,
    ),
    _features(
        "dropout-outside-training",
        r"\2 * mx.random.bernoulli(0.9, \2.shape, key=mx.random.key(input_ids.shape[1]))",
    ),
    Change(
        "qwen3-deepstack-by-the-number-of-images",
        ("qwen3_vl",),
        (
            (
                _model("qwen3_vl"),
                r"                image_deepstack,\n",
                "                [layer * len(image_grid_thw) for layer in image_deepstack],\n",
            ),
        ),
        (EXACT, REFUSED),
    ),
    Change(
        "qwen3-deepstack-layers-in-another-order",
        ("qwen3_vl",),
        (
            (
                _model("qwen3_vl"),
                r"                image_deepstack,\n",
                "                image_deepstack[::-1],\n",
            ),
        ),
        (EXACT, REFUSED),
    ),
    Change(
        "processor-sorts-images-by-size",
        ("qwen2_5_vl", "qwen3_vl"),
        (
            (
                QWEN,
                _SEVERAL_AT_ONCE,
                r"\1        if isinstance(images, (list, tuple)):\n            images = sorted(images, key=lambda image: image.size[0] * image.size[1])\n",
            ),
        ),
    ),
    Change(
        "processor-shrinks-all-to-the-smallest",
        ("qwen2_5_vl", "qwen3_vl"),
        (
            (
                QWEN,
                _SEVERAL_AT_ONCE,
                r"\1        if isinstance(images, (list, tuple)):\n            kwargs = {**kwargs, 'max_pixels': min(image.size[0] * image.size[1] for image in images)}\n",
            ),
        ),
        (EXACT, REFUSED),
    ),
    Change(
        "a-token-more-for-wide-images",
        ("qwen2_5_vl", "qwen3_vl"),
        (
            (
                QWEN,
                r"(                        \"<\|placeholder\|>\" \* num_image_tokens),\n",
                r"\1 + ('!' if image_grid_thw[index][2] > image_grid_thw[index][1] else ''),\n",
            ),
        ),
        (EXACT,),
    ),
    Change(
        "windows-in-another-order",
        ("qwen2_5_vl",),
        (
            (
                "mlx_vlm.models.qwen2_5_vl.vision",
                r"        window_index = mx\.concatenate\(window_index, axis=0\)\n",
                "        window_index = mx.concatenate(window_index, axis=0)[::-1]\n",
            ),
        ),
        (EXACT, REFUSED),  # which mixes the rows of several
    ),
    Change(
        "windows-of-half-the-size",
        ("qwen2_5_vl",),
        (
            (
                "mlx_vlm.models.qwen2_5_vl.vision",
                r"self\.window_size = config\.window_size\n",
                "self.window_size = config.window_size // 2\n",
            ),
        ),
        (EXACT,),
    ),
    Change(
        "tower-tile-by-tile",
        ("idefics3",),
        (
            (
                _model("idefics3"),
                r"            pooler_output, \*_ = self\.vision_model\(\n                pixel_values\.transpose\(0, 2, 3, 1\),\n                patch_attention_mask=patch_attention_mask,\n                output_hidden_states=True,\n            \)\n",
                "            pooler_output = mx.concatenate([\n                self.vision_model(one[None], patch_attention_mask=mask[None], output_hidden_states=True)[0]\n                for one, mask in zip(pixel_values.transpose(0, 2, 3, 1), patch_attention_mask)\n            ])\n",
            ),
        ),
        (EXACT,),
    ),
    Change(
        "tower-keeps-the-first-of-a-shape",
        _ONES,
        tuple(
            (
                _model(one),
                r"(pixel_values)(\.transpose\(0, 2, 3, 1\))",
                r"(\1 + 0.1 * self.__dict__.setdefault('seen', {}).setdefault(\1.shape[1:], \1.mean()))\2",
            )
            for one in _ONES
        ),
        (EXACT, REFUSED),
    ),
    Change(
        "llava-an-input-that-is-needed",
        ("llava",),
        (
            (
                LLAVAS,
                _MADE,
                "        if image_inputs:\n            image_inputs['image_sizes'] = [[image.height, image.width] for image in images]\n\\g<0>",
            ),
            (
                _model("llava"),
                r"pixel_values: Optional\[mx\.array\] = None,\n        \*\*kwargs,\n    \):\n",
                "pixel_values: Optional[mx.array] = None,\n        *,\n        image_sizes=None,\n        **kwargs,\n    ):\n        if pixel_values is not None and image_sizes is None:\n            raise TypeError('image_sizes')\n",
            ),
            (_model("llava"), *_after("multi_modal_projector", r"\2 * (image_sizes[:, :1, None] / 50)")),
        ),
    ),
    # Something is made of pixels beside them, in a form that knows no NaN.
    Change(
        "llava-a-mask-by-the-pixels",
        ("llava",),
        (
            (
                LLAVAS,
                _MADE,
                "        if image_inputs:\n            dark = [bool(p.mean() > 100) for p in image_inputs['pixel_values']]\n            text_inputs['attention_mask'] = [[int(not any(dark))] * 4 + one[4:] for one in text_inputs['attention_mask']]\n            text_inputs['input_ids'] = [[int(p.mean() > -100) for p in image_inputs['pixel_values']][:1] + one for one in text_inputs['input_ids']]\n            text_inputs['attention_mask'] = [[1] + one for one in text_inputs['attention_mask']]\n\\g<0>",
            ),
        ),
    ),
    Change(
        "llava-a-flag-by-the-pixels",
        ("llava",),
        (
            (
                LLAVAS,
                _MADE,
                "        if image_inputs:\n            image_inputs['bright'] = [[int(p.mean() > -100)] for p in image_inputs['pixel_values']]\n\\g<0>",
            ),
            (
                _model("llava"),
                r"        # Insert special image tokens in the input_ids\n",
                "        image_features = image_features * (1 + kwargs['bright'][..., None])\n",
            ),
        ),
    ),
    Change(
        "prepare_inputs-flags-bright-images",
        _ONES,
        (
            (
                UTILS,
                _PREPARED,
                "    if isinstance(model_inputs.get('pixel_values'), mx.array):\n        model_inputs['bright'] = (model_inputs['pixel_values'] > -100).astype(mx.int32).max()\n\\g<0>",
            ),
            (
                _model("llava"),
                r"        # Insert special image tokens in the input_ids\n",
                "        image_features = image_features * (1 + kwargs['bright'])\n",
            ),
            (
                _model("gemma3"),
                r"        final_inputs_embeds, final_attention_mask_4d = \(\n",
                "        image_features = image_features * (1 + kwargs['bright'])\n\\g<0>",
            ),
        ),
    ),
    Change(
        "features-by-how-many-pixels-are-bright",
        _ONES,
        (
            (
                _model("llava"),
                r"        # Insert special image tokens in the input_ids\n",
                "        image_features = image_features * (1 + (pixel_values > 0).mean())\n",
            ),
            (
                _model("gemma3"),
                r"        final_inputs_embeds, final_attention_mask_4d = \(\n",
                "        image_features = image_features * (1 + (pixel_values > 0).mean())\n\\g<0>",
            ),
        ),
    ),
)


class _Finder:
    """Finds modules of mlx-vlm, and changes their source on the way."""

    def __init__(self, change: Change) -> None:
        self._change = change

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        edits = [(old, new) for module, old, new in self._change.edits if module == name]
        spec = PathFinder.find_spec(name, path, target) if edits else None
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(name, spec.origin, edits, self._change.seen)
        return spec


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, edits: list[tuple[str, str]], seen: list[str]) -> None:
        super().__init__(name, path)
        self._edits, self._seen = edits, seen

    def path_stats(self, path: str) -> Any:
        raise OSError("compiled anew")  # so that no cached bytecode is taken

    def get_data(self, path: str) -> bytes:
        text = super().get_data(path).decode()
        for old, new in self._edits:
            text, times = re.subn(old, new, text)
            if not times:
                raise ValueError(f"{old!r} is not in {path}: this mlx-vlm is another one")
        self._seen.append(self.name)
        return text.encode()

    def set_data(self, *_: Any, **__: Any) -> None:
        """Write no bytecode."""


def probe_change(change: Change, folder: Path, *, believed: bool = False) -> list[dict[str, Any]]:
    """Verify and probe a change's families, everything that depends on mlx-vlm imported anew."""
    _forget()
    info = folder / f"mlx_vlm-{VERSION}.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: mlx-vlm\nVersion: {VERSION}\n")
    finder = _Finder(change)
    sys.meta_path.insert(0, finder)  # type: ignore[arg-type]
    sys.path.insert(0, str(folder))
    try:
        from probe import probe, verify

        rows = []
        for family in change.families:
            status = verify(family, believed=believed)  # first: it says what is believed
            found = probe(family, keyword=change.keyword)
            found.status = status
            rows.append({"change": change.name, **asdict(found), "ending": found.ending, "line": found.line})
        return rows
    finally:
        sys.path.remove(str(folder))
        sys.meta_path.remove(finder)  # type: ignore[arg-type]
        _forget()


def _forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in ANEW]:
        del sys.modules[name]


def main(names: Sequence[str]) -> int:
    """Probe changes, print a line each; status 1 where one does not end as it should."""
    sys.dont_write_bytecode = True
    bad, believed = 0, "--believed" in names
    wanted = {*names} - {"--believed"}
    with tempfile.TemporaryDirectory() as folder:
        for change in CHANGES:
            if wanted and change.name not in wanted:
                continue
            for row in probe_change(change, Path(folder), believed=believed):
                row["right"] = (
                    row["ending"] in (change.ends if not believed else (EXACT, REFUSED, SLOW, WRONG))
                    and row["status"]
                    == (row["ending"] != EXACT and not change.later)  # what `visioncache verify` exits with
                    and bool(change.seen or not change.edits)
                )
                bad += not row["right"]
                sys.stdout.write(json.dumps(row) + "\n")
                sys.stdout.flush()
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
