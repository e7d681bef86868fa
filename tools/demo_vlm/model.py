"""The demo model: a small `qwen2_5_vl`, its tokenizer and configs, and a batched forward to train it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from demo_vlm.chats import corpus
from mlx import nn
from mlx_vlm.models import qwen2_5_vl
from mlx_vlm.models.qwen2_5_vl.language import apply_multimodal_rotary_pos_emb
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

if TYPE_CHECKING:
    from pathlib import Path

PATCH, MERGE = 28, 2
MAX_PIXELS = 280 * 280
SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
    "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
TEMPLATE = (
    "{% set seen = namespace(images=0) %}{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{% set seen.images = seen.images + 1 %}"
    "image {{ seen.images }}: <|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer() -> Tokenizer:
    """A byte-level BPE whose merges are the words that the model is asked about."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=640,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def make_config(tokenizer: Tokenizer) -> dict[str, Any]:
    """`config.json`, in the checkpoint format of Qwen2.5-VL."""
    ids = {token: tokenizer.token_to_id(token) for token in SPECIAL}
    depth = 5
    return {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "model_type": "qwen2_5_vl",
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": 5,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]},
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
        "torch_dtype": "float16",
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"]],
        "pad_token_id": ids["<|endoftext|>"],
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
        "vision_token_id": ids["<|vision_pad|>"],
        "vision_config": {
            "model_type": "qwen2_5_vl",
            "depth": depth,
            "hidden_size": 192,
            "intermediate_size": 512,
            "out_hidden_size": 192,
            "num_heads": 6,
            "patch_size": PATCH,
            "spatial_patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
            "window_size": 112,
            "fullatt_block_indexes": list(range(depth)),
            "in_channels": 3,
        },
    }


def build(config: dict[str, Any], seed: int) -> Any:
    """The real mlx-vlm class, with weights drawn from a seed."""
    mx.random.seed(seed)
    settings = qwen2_5_vl.ModelConfig.from_dict(json.loads(json.dumps(config)))
    settings.vision_config = qwen2_5_vl.VisionConfig.from_dict(config["vision_config"])
    settings.text_config = qwen2_5_vl.TextConfig.from_dict(config)
    model = qwen2_5_vl.Model(settings)
    embedding = model.language_model.model.embed_tokens
    embedding.weight = mx.random.normal(embedding.weight.shape) * 0.05
    return model


def save(model: Any, config: dict[str, Any], tokenizer: Tokenizer, folder: Path) -> None:
    """Write what `mlx_vlm.load` reads: float16 weights, configs, tokenizer, chat template."""
    from mlx.utils import tree_flatten

    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: w.astype(mx.float16) for name, w in tree_flatten(model.parameters())}
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    tokenizer.save(str(folder / "tokenizer.json"))
    files = {
        "config.json": config,
        "generation_config.json": {"do_sample": False, "eos_token_id": config["eos_token_id"]},
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "additional_special_tokens": list(SPECIAL),
            "clean_up_tokenization_spaces": False,
            "model_max_length": 8192,
            "chat_template": TEMPLATE,
        },
        "processor_config.json": {"processor_class": "Qwen2_5_VLProcessor", "chat_template": TEMPLATE},
        "preprocessor_config.json": {
            "image_processor_type": "Qwen2VLImageProcessor",
            "processor_class": "Qwen2_5_VLProcessor",
            "patch_size": PATCH,
            "temporal_patch_size": 2,
            "merge_size": MERGE,
            "min_pixels": 28 * 28 * 4,
            "max_pixels": MAX_PIXELS,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
        },
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


# The forward pass for training: the model's own layers, over batches of images of one size --------


def encode_images(tower: Any, pixels: mx.array) -> mx.array:
    """Features `[N, tokens, hidden]` of images `[N, H, W, 3]` uint8: what the tower gives for each."""
    count, height, width, _ = pixels.shape
    rows, columns = height // PATCH, width // PATCH
    weight = tower.patch_embed.proj.weight.sum(axis=1)  # both frames of a still image are the same
    x = (pixels.astype(mx.float32) / 255 - 0.5) / 0.5
    x = x.reshape(count, rows // MERGE, MERGE, PATCH, columns // MERGE, MERGE, PATCH, 3)
    x = x.transpose(0, 1, 4, 2, 5, 3, 6, 7).reshape(count, rows * columns, -1)
    x = x.astype(weight.dtype) @ weight.reshape(weight.shape[0], -1).T
    cos, sin = _rope_2d(rows, columns, tower.blocks[0].attn.head_dim)
    for block in tower.blocks:
        x = x + _attend(block.attn, block.norm1(x), cos, sin)
        x = x + block.mlp(block.norm2(x))
    merged = tower.merger(x.reshape(-1, x.shape[-1]))
    return merged.reshape(count, -1, merged.shape[-1])


def _attend(attention: Any, x: mx.array, cos: mx.array, sin: mx.array) -> mx.array:
    count, length, width = x.shape
    qkv = attention.qkv(x).reshape(count, length, 3, attention.num_heads, -1).transpose(2, 0, 3, 1, 4)
    q, k = (_rotate(t, cos, sin) for t in (qkv[0], qkv[1]))
    out = mx.fast.scaled_dot_product_attention(q, k, qkv[2], scale=attention.scale)
    return attention.proj(out.transpose(0, 2, 1, 3).reshape(count, length, width))


def _rotate(x: mx.array, cos: mx.array, sin: mx.array) -> mx.array:
    half = x.shape[-1] // 2
    turned = mx.concatenate([-x[..., half:], x[..., :half]], axis=-1)
    return (x * cos + turned * sin).astype(x.dtype)


def _rope_2d(rows: int, columns: int, head_dim: int) -> tuple[mx.array, mx.array]:
    grid = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1)
    grid = grid.reshape(rows // MERGE, MERGE, columns // MERGE, MERGE, 2).transpose(0, 2, 1, 3, 4)
    quarter = head_dim // 4
    frequencies = 1.0 / (10000.0 ** (np.arange(0, quarter) * 2 / (head_dim // 2)))
    angles = (grid.reshape(-1, 2, 1) * frequencies).reshape(rows * columns, -1)
    both = np.concatenate([angles, angles], axis=-1).astype(np.float32)
    return mx.array(np.cos(both)), mx.array(np.sin(both))


def read(model: Any, pool: mx.array, batch: dict[str, Any]) -> tuple[mx.array, list[mx.array]]:
    """Logits `[B, T, vocab]` of chats over a pool of features `[N, hidden]`, and what each layer gave."""
    language = model.language_model.model
    slots = batch["slots"]
    x = language.embed_tokens(batch["tokens"])
    x = mx.where((slots >= 0)[..., None], pool[mx.maximum(slots, 0)], x)
    cos, sin = language.layers[0].self_attn.rotary_emb(x, batch["positions"])
    states = []
    for layer in language.layers:
        x = x + _attend_causally(layer.self_attn, layer.input_layernorm(x), cos, sin)
        x = x + layer.mlp(layer.post_attention_layernorm(x))
        states.append(x)
    return language.embed_tokens.as_linear(language.norm(x)), states


def _attend_causally(attention: Any, x: mx.array, cos: mx.array, sin: mx.array) -> mx.array:
    count, length, _ = x.shape

    def heads(y: mx.array, n: int) -> mx.array:
        return y.reshape(count, length, n, -1).transpose(0, 2, 1, 3)

    q = heads(attention.q_proj(x), attention.n_heads)
    k, v = (heads(p(x), attention.n_kv_heads) for p in (attention.k_proj, attention.v_proj))
    q, k = apply_multimodal_rotary_pos_emb(q, k, cos, sin)
    out = mx.fast.scaled_dot_product_attention(
        q.astype(v.dtype), k.astype(v.dtype), v, scale=attention.scale, mask="causal"
    )
    return attention.o_proj(out.transpose(0, 2, 1, 3).reshape(count, length, -1))


def loss_of_answers(logits: mx.array, batch: dict[str, Any]) -> mx.array:
    """Mean cross-entropy of the answers' tokens."""
    answer = batch["answers"][:, 1:]
    losses = nn.losses.cross_entropy(logits[:, :-1], batch["tokens"][:, 1:])
    return (losses * answer).sum() / mx.maximum(answer.sum(), 1)
