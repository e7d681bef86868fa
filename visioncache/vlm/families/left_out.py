"""Left out: models that are no family, families without prefixes, inputs that no prefix holds."""

from __future__ import annotations

_IN_ONE_PIECE = "mlx-vlm prefills such a prompt in one piece"

NO_PREFIX: dict[str, str] = {
    "deepseek_v4": _IN_ONE_PIECE,
    "deepseek_v41": "a DeepseekV41Cache can't be cut into segments",
    "falcon_ocr": _IN_ONE_PIECE,
    "falcon_perception": _IN_ONE_PIECE,
    "florence2": "a SimpleKVCache can't be cut into segments",
    "gemma4_unified": _IN_ONE_PIECE,
    "mllama": "what it sees of images lies beside the prompt, not in it",
    "nemotron_parse": "a SimpleKVCache can't be cut into segments",
    "paligemma": _IN_ONE_PIECE,
    "qwen4_exp": "a QSAKVCache can't be cut into segments",
    "unlimited_ocr": "a RingSlidingKVCache can't be cut into segments",
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

_RETRIEVAL = "for retrieval: it turns an image into vectors, and generates no text"
_DETECTION = "for detection, segmentation or depth: it generates no text"
_DECISION = "it gives probabilities of answers, and generates no text"

LEFT_OUT: dict[str, str] = {
    "clef": _DECISION,
    "colidefics3": _RETRIEVAL,
    "colqwen2_5": _RETRIEVAL,
    "d1_omni": _DECISION,
    "diffusion_gemma": "it writes by diffusion, and reads pixels where no prompt is embedded",
    "embedding_gemma2": _RETRIEVAL,
    "llama_nemotron_vl_embedding": _RETRIEVAL,
    "moge3": _DETECTION,
    "molmo_point": "to point, it reads the patches of its tower again while it answers",
    "moss_image": "it makes images, and generates no text",
    "pp_doclayout_v3": _DETECTION,
    "qwen3_vl_embedding": _RETRIEVAL,
    "rfdetr": _DETECTION,
    "rt_detr_v2": _DETECTION,
    "sam3": _DETECTION,
    "sam3_1": _DETECTION,
    "sam3d_body": _DETECTION,
    "sam3d_objects": _DETECTION,
    "sapiens2": _DETECTION,
    "siglip": "a tower alone: it generates no text",
    "video_depth_anything": _DETECTION,
}
"""Packages of mlx-vlm that take images and are no families, each with the reason."""

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
