"""The families of mlx-vlm: where each one's features are caught, and how its requests fall into images."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from visioncache.vlm.families.boxes import Boxes, FloatBoxes
from visioncache.vlm.families.canvas import Canvas
from visioncache.vlm.families.deepseek import Tokens, Views
from visioncache.vlm.families.family import Family
from visioncache.vlm.families.layouts import (
    PACKED,
    ROWS,
    Beside,
    Counted,
    Listed,
    Packed,
    Padded,
    PaddedTiles,
    Permuted,
    Pooled,
    Rows,
    Tiles,
)
from visioncache.vlm.families.minicpm import MODE, ByPrompt, Prompts
from visioncache.vlm.families.molmo import Placed
from visioncache.vlm.families.plamo import Outlines
from visioncache.vlm.trees import concatenate


def _first(output: Any) -> Any:
    return output[0]


def _in_one(output: Any) -> Any:
    return concatenate(0)(list(output))


def _of_each_call(outputs: Any) -> Any:
    return [first for (first,) in outputs]


def _in_a_list(features: Any) -> Any:
    return [features]


def _granite4_layers(model: Any) -> int:
    config = model.config
    spatial = config.spatial_target_layers if config.use_spatial_sampling else None
    return len(config.deepstack_layer_map or ()) + len(spatial or ())


def _between_ends(model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """With a prompt of one image: it is counted by the two tokens that end its views."""
    if "image_grids" not in inputs:  # a video
        return inputs
    return {**inputs, "input_ids": mx.array([[model.config.image_end_token_id] * 2])}


def _encode_crops(model: Any, inputs: dict[str, Any]) -> Any:
    return model.get_vision_embedding(
        inputs["pixel_values"], inputs["tgt_sizes"], downsample_mode=inputs.get(MODE)
    )


def _with_nothing(features: Any) -> Any:
    return features, None


_SIZED = Padded(companions=("image_sizes",))
_NEXT = Rows(companions=("image_sizes",), numpy=True)
_KIMI = Packed(companions=("image_grid_hws", "_grid_shapes"))

# Packed patches behind a grid, the tower alone between pixels and language model.
_PACKED = (
    Family("qwen2_vl", "vision_tower", PACKED, "seam", video=True),
    Family("qwen2_5_vl", "vision_tower", PACKED, "seam", video=True),
    Family("qwen3_vl", "vision_tower", PACKED, "seam", video=True, side_outputs="DeepStack"),
    Family("qwen3_vl_moe", "vision_tower", PACKED, "seam", video=True, side_outputs="DeepStack"),
    Family(
        "qwen3_omni_moe",
        "thinker.vision_tower",
        PACKED,
        "seam",
        embedder="thinker",
        vision="thinker.vision_tower",
        video=True,
        side_outputs="DeepStack",
    ),
    Family(
        "qwen3_5",
        "vision_tower",
        PACKED,
        "seam",
        keep=_first,
        give=_with_nothing,
        kin=("indic_ocr", "qwen3_5_moe"),
        video=True,
    ),
    Family("cohere_compass", "vision_tower", PACKED, "seam", side_outputs="DeepStack"),
    Family("dots_ocr", "vision_tower", PACKED),
    Family("ernie4_5_moe_vl", "resampler_model", PACKED),
    Family("glm4v", "vision_tower", PACKED),
    Family("glm4v_moe", "vision_tower", PACKED),
    Family("glm5_next", "vision_tower", PACKED),
    Family("glm_ocr", "vision_tower", PACKED),
    # Its tower's attention has no mask: the images of a request see each other.
    Family("hunyuan_vl", "vision_tower", PACKED, granularity="request"),
    Family("kimi_k25", "mm_projector", _KIMI, keep=_first),
    Family("kimi_k3", "mm_projector", Packed(companions=("grid_thws",))),
    Family("kimi_vl", "multi_modal_projector", _KIMI),
    Family("locateanything", "multi_modal_projector", _KIMI),
    Family("deepseek_v4", "_encode_images", Permuted(), keep=_first, join=list, maker="preprocess_image()"),
    Family("mimo_v2", "vision_tower", PACKED, "seam", video=True),
    Family("minimax_m3_vl", "_compute_visual_features", PACKED, "seam", video=True),
    Family("muse_glimmer", "_encode_image", PACKED, video=True),
    # One image; of several, its processor makes one clip, which its tower refuses.
    Family("paddleocr_vl", "visual", PACKED, granularity="request"),
    Family("zaya1_vl", "vision_tower", PACKED),
)

# A batch of views, one row or several an image, then a projector.
_ROWS = (
    Family("aya_vision", "multi_modal_projector", ROWS),
    Family("deepseek_vl_v2", "projector", Views(), maker=Tokens),
    Family(
        "falcon_perception",
        "_patchify_and_project",
        Rows(companions=("image_grid_hw",)),
        kept=("pixel_values",),
        maker="preprocess_image()",
        projector="language_model.model.img_projector",
        side_outputs="pixels, which masks are made from",
    ),
    Family("fastvlm", "mm_projector", Rows(companions=("image_sizes",))),
    Family("florence2", "_encode_image", ROWS),
    Family("gemma3", "multi_modal_projector", ROWS),
    Family("gemma3n", "get_image_features", ROWS),
    Family("gemma4", "embed_vision", ROWS, join=concatenate(1)),
    # The first image is all that the Granites read, padded to as many tiles as the request's largest.
    Family(
        "granite4_vision",
        "_pack_and_unpad_image_features",
        _NEXT,
        "seam",
        keep=_of_each_call,
        give=_in_a_list,
        calls=_granite4_layers,
        granularity="request",
        side_outputs="features for each of several layers",
    ),
    Family("granite_vision", "multi_modal_projector", _NEXT, "seam", granularity="request"),
    # Tower and resampler attend to the padding that the request's largest image brings.
    Family("idefics2", "connector", Canvas(pixels=("pixel_values", "pixel_attention_mask"))),
    Family("idefics3", "connector", Tiles(), kin=("smolvlm",)),
    Family(
        "lfm2_vl", "encode_images", Rows(companions=("spatial_shapes", "pixel_attention_mask")), keep=_in_one
    ),
    # As the Granites; rows of a newline follow the projector, so its place is taken.
    Family("llava_next", "multi_modal_projector", _NEXT, "seam", granularity="request"),
    Family(
        "falcon_ocr",
        "_patchify_and_project",
        Rows(companions=("image_grid_hw",)),
        maker="preprocess_image()",
        projector="language_model.model.img_projector",
    ),
    Family(
        "jina_vlm", "get_image_features", Rows(pixels=("pixel_values", "image_masks")), maker="_image_proc"
    ),
    Family("llava_bunny", "mm_projector", ROWS),
    Family(
        "llava_onevision", "get_image_features", PaddedTiles(companions=("image_sizes", "batch_num_images"))
    ),
    Family("minicpmo", "get_vision_embedding", ByPrompt(), keep=_first, maker=Prompts),
    Family(
        "minicpmv4_6",
        "get_vision_embedding",
        ByPrompt(),
        keep=_first,
        maker=Prompts,
        settings=(MODE, "insert_layer_id"),
    ),
    Family(
        "minicpmv4_7",
        "get_vision_embedding",
        ByPrompt(),
        keep=_first,
        maker=Prompts,
        encode=_encode_crops,
        settings=(MODE, "insert_layer_id"),
    ),
    Family("molmo", "vision_tower", Placed(), keep=_first, join=concatenate(2), maker=FloatBoxes),
    Family("molmo2", "vision_tower", Pooled(), alone=_between_ends),
    Family(
        "moondream3",
        "vision",
        Counted(companions=("num_crops", "crop_layouts"), numpy=True),
        maker="create_crops()",
    ),
    Family("multi_modality", "aligner", ROWS),
    Family(
        "phi4mm",
        "apply_mm_projector",
        Rows(pixels=("pixel_values", "pixel_attention_mask"), companions=("spatial_shapes",)),
        keep=_first,
        join=list,
    ),
    Family("llava", "multi_modal_projector", Rows(numpy=True)),
    Family("llmjpvl", "mlp1.3", ROWS, granularity="tile", processor=False),
    # The norm is the last of what it does to pictures; it is the last for films and sounds too, later on.
    Family("muse_spark", "perception_emb_norm", Listed(), maker=Boxes, proven=("embeddings",)),
    Family("mistral3", "multi_modal_projector", _SIZED),
    Family("paligemma", "multi_modal_projector", ROWS, join=_first),  # its tower returns one row
    # The language model attends to the projector's output; there is nothing to put among its tokens.
    Family(
        "mllama",
        "multi_modal_projector",
        Beside(companions=("aspect_ratio_ids", "aspect_ratio_mask")),
        "seam",
        entrances=("get_input_embeddings", "__call__"),
    ),
    Family("plamo2vl", "image_proj", Rows(numpy=True), maker=Outlines),
    Family("pixtral", "multi_modal_projector", _SIZED, join=concatenate(1)),
    # Placed by the positions of its tokens, which mlx-vlm's own path for cached features takes for others.
    Family(
        "phi3_v",
        "model.vision_embed_tokens.img_projection.2",
        _SIZED,
        "seam",
        join=None,
        vision="model.vision_embed_tokens",
    ),
    Family("internvl_chat", "mlp1.3", Rows(axis=1)),
    Family("gemma4_unified", "get_image_features", Rows(companions=("image_position_ids",))),
)

FAMILIES: dict[str, Family] = {family.name: family for family in (*_PACKED, *_ROWS)}
KIN: dict[str, Family] = {name: family for family in FAMILIES.values() for name in family.kin}
