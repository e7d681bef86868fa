"""Simulated next versions of mlx-vlm: one plausible change each, and how a cache is to end with it.

    python tests/vlm/simulated.py            # all
    python tests/vlm/simulated.py NAME ...

A change is made to the source while it is imported, so that nothing installed is touched. mlx-vlm and all that
imports it are imported anew for each; what comes out is a line of JSON a change and family.
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
    """It shows only once somebody sets something, which `visioncache verify` does not."""
    seen: list[str] = field(default_factory=list, compare=False)


def _model(family: str) -> str:
    return f"mlx_vlm.models.{family}.{family}"


def _after(call: str, then: str) -> tuple[str, str]:
    """Do something to what a call is assigned to, on the next line."""
    return rf"( +)(\w+) = (self\.{call}\([^()]*\))\n", rf"\1\2 = \3\n\1\2 = {then}\n"


QWEN = "mlx_vlm.models.qwen3_vl.processing_qwen3_vl"
UTILS, DISPATCH = "mlx_vlm.utils", "mlx_vlm.generate.dispatch"
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
EXACT, REFUSED, SLOW = "exact", "refused", "slow"

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


def probe_change(change: Change, folder: Path) -> list[dict[str, Any]]:
    """Probe a change's families, everything that depends on mlx-vlm imported anew."""
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
            found = probe(family)
            found.status = verify(family)
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
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for change in CHANGES:
            if names and change.name not in names:
                continue
            for row in probe_change(change, Path(folder)):
                row["right"] = (
                    row["ending"] in change.ends
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
