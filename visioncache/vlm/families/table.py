"""The families of mlx-vlm: where each one's features are caught, and how its requests fall into images."""

from __future__ import annotations

from visioncache.vlm.families.boxes import Boxes, FloatBoxes
from visioncache.vlm.families.canvas import Canvas
from visioncache.vlm.families.deepseek import Tokens, Views
from visioncache.vlm.families.family import Family, First, ImageByImage
from visioncache.vlm.families.image_processors import Stills
from visioncache.vlm.families.layouts import (
    PACKED,
    ROWS,
    Beside,
    Counted,
    Listed,
    Nameless,
    Packed,
    Padded,
    PaddedTiles,
    Permuted,
    Pooled,
    Rows,
    Tiles,
)
from visioncache.vlm.families.minicpm import ByPrompt, OfCrops, OfMode, Prompts
from visioncache.vlm.families.molmo import CountedByEnds, Placed
from visioncache.vlm.families.ocr import Cut, CutApart, CutOnce, Pairs, TileByTile, Tiled
from visioncache.vlm.families.odd import (
    ByPosition,
    CrossAttended,
    Decides,
    EndToEnd,
    EveryLayer,
    FirstSeparate,
    Flat,
    KeepsPixels,
    OfStills,
    OfTheLanguageModel,
    Omni,
    OneRow,
    WithNothing,
)
from visioncache.vlm.families.plamo import Outlines
from visioncache.vlm.families.records import Recorded, Records
from visioncache.vlm.families.step import Viewed, Windowed, Windows

_SIZED = Padded(companions=("image_sizes",))
_NEXT = Rows(companions=("image_sizes",), numpy=True)
_SHAPED = Rows(companions=("spatial_shapes", "pixel_attention_mask"))
_APART = "features of tiles and of the whole, apart"
_CROPS = Counted(companions=("num_crops", "crop_layouts"), numpy=True)
_KIMI = Packed(companions=("image_grid_hws", "_grid_shapes"))

# Packed patches behind a grid, the tower alone between pixels and language model.
_PACKED = (
    Family("qwen2_vl", "vision_tower", PACKED, "seam", video=True),
    Family("qwen2_5_vl", "vision_tower", PACKED, "seam", video=True),
    Family("qwen3_vl", "vision_tower", PACKED, "seam", video=True, side_outputs="DeepStack"),
    Family("qwen3_vl_moe", "vision_tower", PACKED, "seam", video=True, side_outputs="DeepStack"),
    Omni(
        "qwen3_omni_moe",
        "thinker.vision_tower",
        PACKED,
        "seam",
        video=True,
        side_outputs="DeepStack",
    ),
    WithNothing(
        "qwen3_5",
        "vision_tower",
        PACKED,
        "seam",
        kin=("indic_ocr", "prism_hadamard_qwen35", "qwen3_5_moe"),
        video=True,
    ),
    WithNothing("qwen4_exp", "vision_tower", PACKED, "seam", video=True),
    Family("cohere_compass", "vision_tower", PACKED, "seam", side_outputs="DeepStack"),
    Family("dots_ocr", "vision_tower", PACKED),
    Family("ernie4_5_moe_vl", "resampler_model", PACKED),
    Family("glm4v", "vision_tower", PACKED),
    Family("glm4v_moe", "vision_tower", PACKED),
    Family("glm5_next", "vision_tower", PACKED),
    Family("glm_ocr", "vision_tower", PACKED),
    # Its tower's attention has no mask: the images of a request see each other.
    Family("hunyuan_vl", "vision_tower", PACKED, granularity="request"),
    First("kimi_k25", "mm_projector", _KIMI),
    OfStills("inkling", "get_image_features", Nameless(), "seam"),
    Family("kimi_k3", "mm_projector", Packed(companions=("grid_thws",))),
    Family("kimi_vl", "multi_modal_projector", _KIMI),
    Family("locateanything", "multi_modal_projector", _KIMI),
    FirstSeparate("deepseek_v4", "_encode_images", Permuted(), preprocessor="preprocess_image()"),
    Family(
        "mage_vl",
        "vision_tower",
        Packed(pixels=("pixel_values", "patch_positions")),
        "seam",
        preprocessor=Stills,
    ),
    # Its processor hands on records; no ticket can take their place.
    Recorded("deepseek_v41", "encode_image", Records(), "seam", preprocessor=""),
    Family("mimo_v2", "vision_tower", PACKED, "seam", video=True),
    Family("minimax_m3_vl", "_compute_visual_features", PACKED, "seam", video=True),
    Family("muse_glimmer", "_encode_image", PACKED, video=True),
    # One image; of several, its processor makes one clip, which its tower refuses.
    Family("paddleocr_vl", "visual", PACKED, granularity="request"),
    Family("youtu_vl", "vision_tower", Packed(companions=("spatial_shapes",)), "seam", preprocessor=""),
    Family("zaya1_vl", "vision_tower", PACKED),
)

# A batch of views, one row or several an image, then a projector.
_ROWS = (
    Family("aya_vision", "multi_modal_projector", ROWS),
    Tiled(
        "deepseekocr",
        "projector",
        Pairs(),
        "seam",
        preprocessor=Cut,
        side_outputs=_APART,
    ),
    Tiled("unlimited_ocr", "projector", Pairs(), "seam", preprocessor=CutApart, side_outputs=_APART),
    TileByTile(
        "deepseekocr_2",
        "projector",
        Pairs(fewest=1),
        "seam",
        preprocessor=CutOnce,
        side_outputs=_APART,
    ),
    Family("deepseek_vl_v2", "projector", Views(), preprocessor=Tokens),
    KeepsPixels(
        "falcon_perception",
        "_patchify_and_project",
        Rows(companions=("image_grid_hw",)),
        preprocessor="preprocess_image()",
        side_outputs="pixels, which masks are made from",
    ),
    Family("fastvlm", "mm_projector", Rows(companions=("image_sizes",))),
    Family("florence2", "_encode_image", ROWS),
    Family("gemma3", "multi_modal_projector", ROWS),
    Family("gemma3n", "get_image_features", ROWS),
    Family("gemma4", "embed_vision", ROWS, axis=1),
    Family("got", "multi_modal_projector", ROWS, "seam"),
    # The first image is all that the Granites read, padded to as many tiles as the request's largest.
    EveryLayer(
        "granite4_vision",
        "_pack_and_unpad_image_features",
        _NEXT,
        "seam",
        granularity="request",
        side_outputs="features for each of several layers",
    ),
    Family("granite_vision", "multi_modal_projector", _NEXT, "seam", granularity="request"),
    # Tower and resampler attend to the padding that the request's largest image brings.
    Family("idefics2", "connector", Canvas(pixels=("pixel_values", "pixel_attention_mask"))),
    Family("idefics3", "connector", Tiles(), kin=("smolvlm",)),
    EndToEnd("lfm2_vl", "encode_images", _SHAPED),
    Decides("d1", "encode_images", _SHAPED),
    # As the Granites; rows of a newline follow the projector, so its place is taken.
    Family("llava_next", "multi_modal_projector", _NEXT, "seam", granularity="request"),
    OfTheLanguageModel(
        "falcon_ocr",
        "_patchify_and_project",
        Rows(companions=("image_grid_hw",)),
        preprocessor="preprocess_image()",
    ),
    Family(
        "jina_vlm",
        "get_image_features",
        Rows(pixels=("pixel_values", "image_masks")),
        preprocessor="_image_proc",
    ),
    Family("llava_bunny", "mm_projector", ROWS),
    Family(
        "llava_onevision", "get_image_features", PaddedTiles(companions=("image_sizes", "batch_num_images"))
    ),
    First("minicpmo", "get_vision_embedding", ByPrompt(), preprocessor=Prompts),
    OfMode(
        "minicpmv4_6",
        "get_vision_embedding",
        ByPrompt(),
        preprocessor=Prompts,
    ),
    OfCrops(
        "minicpmv4_7",
        "get_vision_embedding",
        ByPrompt(),
        preprocessor=Prompts,
    ),
    First("molmo", "vision_tower", Placed(), axis=2, preprocessor=FloatBoxes),
    CountedByEnds("molmo2", "vision_tower", Pooled()),
    Family("moondream2", "vision", _CROPS, "seam", preprocessor="create_crops()"),
    Family("moondream3", "vision", _CROPS, preprocessor="create_crops()"),
    Family("multi_modality", "aligner", ROWS),
    FirstSeparate(
        "phi4mm",
        "apply_mm_projector",
        Rows(pixels=("pixel_values", "pixel_attention_mask"), companions=("spatial_shapes",)),
    ),
    Family("llava", "multi_modal_projector", Rows(numpy=True)),
    Family("llama4", "multi_modal_projector", ROWS, "seam"),
    Family("llmjpvl", "mlp1.3", ROWS, granularity="tile", preprocessor=""),
    # The norm is the last of what it does to pictures; it is the last for films and sounds too, later on.
    Family("muse_spark", "perception_emb_norm", Listed(), preprocessor=Boxes, proven=("embeddings",)),
    Family("mistral3", "multi_modal_projector", _SIZED, kin=("mistral_large3",)),
    Flat("nemotron_h_nano_omni", "extract_feature", ROWS, "seam", preprocessor=Stills),
    Family("nemotron_parse", "_encode_image", ROWS, "seam"),
    Viewed("step3p7", "_vision_embeddings", Windowed(), "seam", preprocessor=Windows),
    OneRow("paligemma", "multi_modal_projector", ROWS),
    CrossAttended(
        "mllama",
        "multi_modal_projector",
        Beside(companions=("aspect_ratio_ids", "aspect_ratio_mask")),
        "seam",
    ),
    Family("plamo2vl", "image_proj", Rows(numpy=True), preprocessor=Outlines),
    Family("pixtral", "multi_modal_projector", _SIZED, axis=1),
    # Placed by the positions of its tokens, which mlx-vlm's own path for cached features takes for others.
    ByPosition(
        "phi3_v",
        "model.vision_embed_tokens.img_projection.2",
        _SIZED,
        "seam",
    ),
    # Its tower knows no mask: patches of padding are seen too, as many as its processor always makes.
    ImageByImage("phi4_siglip", "mm_projector", _SHAPED, "seam"),
    Family("internvl", "multi_modal_projector", Rows(axis=1), "seam"),
    Family("internvl_chat", "mlp1.3", Rows(axis=1)),
    Family("gemma4_unified", "get_image_features", Rows(companions=("image_position_ids",))),
)

FAMILIES: dict[str, Family] = {family.name: family for family in (*_PACKED, *_ROWS)}
KIN: dict[str, Family] = {name: family for family in FAMILIES.values() for name in family.kin}
