"""Exceptions: families that no prefix can be kept for, and inputs that end where a prompt is embedded."""

from __future__ import annotations

_IN_ONE_PIECE = "mlx-vlm prefills such a prompt in one piece"

NO_PREFIX: dict[str, str] = {
    "deepseek_v4": _IN_ONE_PIECE,
    "falcon_ocr": _IN_ONE_PIECE,
    "falcon_perception": _IN_ONE_PIECE,
    "florence2": "a SimpleKVCache is nothing that segments are made of",
    "gemma4_unified": _IN_ONE_PIECE,
    "mllama": "what it sees of images lies beside the prompt, not in it",
    "paligemma": _IN_ONE_PIECE,
    "qwen4_exp": "a QSAKVCache is nothing that segments are made of",
}
"""By family, what is said when a prompt of it with images is prefilled."""

UNPROVEN: dict[str, str] = {
    "muse_spark": "a language model of Metal kernels, where nobody has compared warm with cold yet",
    "zaya1_vl": "mlx-vlm names an argument that its language model does not have, so that it can't pause",
}
"""Families of which no prefix is kept because it was never seen to be exact."""

NO_STEPS: dict[str, str] = {
    "ernie4_5_moe_vl": "the language model notes something of what it reads, beside its caches",
}
"""The same where prefill pauses by mlx-vlm's own steps alone."""

MEDIA = ("pixel_values", "pixel_values_videos", "input_features", "audio_features")
"""Inputs that are pictures, films or sounds."""

ONLY_EMBEDDED = frozenset(
    {
        "pixel_values",
        "pixel_values_videos",
        "image_grid_thw",
        "video_grid_thw",
        "image_sizes",
        "labels",
        "seq_lens",
        "sft_format",
        "images_seq_mask",
        "images_spatial_crop",
        "num_patches_list",
        "image_bound",
        "tgt_sizes",
        "grids",
        "image_input_idx",
        "num_patches_per_image",
        "num_patches_per_frame",
        "num_frames_per_video",
        "grids_videos",
        "video_sizes",
        "audio_bounds",
        "audio_feature_lens",
        "spk_bounds",
        "imgs_pos",
        "position_ids",
    }
)
"""Inputs that say how images lie in a prompt: read where it is embedded, not by the language model."""
