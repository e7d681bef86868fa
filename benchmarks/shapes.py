"""Models of real shapes with random weights, over mlx-vlm's own classes and processors, from no hub.

What a session costs depends on shapes, not on what the weights say. Shapes are those of the
checkpoints' config.json. Prompts have as many image tokens as with the checkpoints; their text is ChatML, a
token a word and a token a marker, as in the checkpoints' own vocabularies.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mlx.core as mx
from mlx_vlm.tokenizer_utils import NaiveStreamingDetokenizer
from mlx_vlm.utils import StoppingCriteria
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from visioncache.study.benchmark.sessions import load_session, session_names

if TYPE_CHECKING:
    from collections.abc import Callable

START, END = "<|im_start|>", "<|im_end|>"
TEMPLATE = (
    f"{{%% for message in messages %%}}{START}{{{{ message['role'] }}}}\n"
    "{%% if message['content'] is string %%}{{ message['content'] }}{%% else %%}"
    "{%% for part in message['content'] %%}"
    "{%% if part['type'] == 'image' %%}%s{%% elif part['type'] == 'text' %%}{{ part['text'] }}{%% endif %%}"
    f"{{%% endfor %%}}{{%% endif %%}}{END}\n{{%% endfor %%}}{START}assistant\n"
)


@dataclass(frozen=True)
class Shape:
    """How a model is built: `make(layers)` gives a model and a processor."""

    name: str
    make: Callable[[int | None], tuple[Any, Any]]


def tokenizer_of(size: int, image: str, *specials: str, **kwargs: Any) -> Any:
    """A tokenizer of `size` tokens: the sessions' words, bytes, words that no text holds, special tokens."""
    named = ("<pad>", START, END, *specials)
    asked = [turn.ask for name in session_names() for turn in load_session(name).turns]
    vocabulary, merges = learned(["user\nassistant\nsystem\n", *asked])
    words = (f"word{n}" for n in range(size - len(vocabulary) - len(named)))
    vocabulary |= {word: n for n, word in enumerate(words, len(vocabulary))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in named])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=named[0],
        chat_template=TEMPLATE % image,
        **kwargs,
    )


def learned(texts: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The vocabulary of bytes and of the words of texts, and how bytes merge to words."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(min_frequency=1, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [(left, right) for left, right in model["merges"]]


def _qwen(size: int) -> tuple[Any, dict[str, int]]:
    names = {
        "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>",
        "image_token_id": "<|image_pad|>",
        "video_token_id": "<|video_pad|>",
    }
    tokenizer = tokenizer_of(size, "<|vision_start|><|image_pad|><|vision_end|>", *names.values())
    return tokenizer, {name: tokenizer.convert_tokens_to_ids(token) for name, token in names.items()}


def _qwen2_5_vl(layers: int | None, text: dict[str, Any], depth: int = 32) -> tuple[Any, Any]:
    from mlx_vlm.models.qwen2_5_vl import Model, ModelConfig, TextConfig, VisionConfig
    from mlx_vlm.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor
    from mlx_vlm.models.qwen3_vl.processing_qwen3_vl import Qwen3VLImageProcessor, Qwen3VLVideoProcessor

    tokenizer, ids = _qwen(text["vocab_size"])
    text = text | ({"num_hidden_layers": layers} if layers else {})
    config = ModelConfig(
        text_config=TextConfig(
            model_type="qwen2_5_vl",
            rms_norm_eps=1e-6,
            rope_theta=1e6,
            rope_scaling={"type": "mrope", "mrope_section": [16, 24, 24]},
            **text,
        ),
        vision_config=VisionConfig(
            depth=min(depth, layers * 8) if layers else depth,
            out_hidden_size=text["hidden_size"],
            window_size=112,
            fullatt_block_indexes=[7, 15, 23, 31],
        ),
        model_type="qwen2_5_vl",
        vocab_size=text["vocab_size"],
        **ids,
    )
    limits = {"patch_size": 14, "min_pixels": 56 * 56, "max_pixels": 12_845_056}
    images, videos = Qwen3VLImageProcessor(**limits), Qwen3VLVideoProcessor(**limits)
    return Model(config), Qwen2_5_VLProcessor(
        images, tokenizer, videos, chat_template=tokenizer.chat_template
    )


def _qwen2_5_vl_3b(layers: int | None) -> tuple[Any, Any]:
    return _qwen2_5_vl(
        layers,
        {
            "hidden_size": 2048,
            "num_hidden_layers": 36,
            "intermediate_size": 11008,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "vocab_size": 151_936,
            "tie_word_embeddings": True,
        },
    )


def _qwen2_5_vl_7b(layers: int | None) -> tuple[Any, Any]:
    return _qwen2_5_vl(
        layers,
        {
            "hidden_size": 3584,
            "num_hidden_layers": 28,
            "intermediate_size": 18944,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "vocab_size": 152_064,
            "tie_word_embeddings": False,
        },
    )


_TOWER_OF_4B = {
    "depth": 24,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "out_hidden_size": 2560,
    "num_heads": 16,
    "patch_size": 16,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "num_position_embeddings": 2304,
}
"""Of Qwen3-VL-4B, and of Qwen3.5-4B without DeepStack."""


def _qwen3_processor(tokenizer: Any) -> Any:
    from mlx_vlm.models.qwen3_vl.processing_qwen3_vl import (
        Qwen3VLImageProcessor,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    limits = {"patch_size": 16, "min_pixels": 65_536, "max_pixels": 16_777_216}
    images, videos = Qwen3VLImageProcessor(**limits), Qwen3VLVideoProcessor(**limits)
    return Qwen3VLProcessor(images, tokenizer, videos, chat_template=tokenizer.chat_template)


def _qwen3_vl_4b(layers: int | None) -> tuple[Any, Any]:
    from mlx_vlm.models.qwen3_vl import Model, ModelConfig, TextConfig, VisionConfig

    tokenizer, ids = _qwen(151_936)
    config = ModelConfig(
        text_config=TextConfig(
            model_type="qwen3_vl_text",
            hidden_size=2560,
            num_hidden_layers=layers or 36,
            intermediate_size=9728,
            num_attention_heads=32,
            num_key_value_heads=8,
            head_dim=128,
            rms_norm_eps=1e-6,
            rope_theta=5e6,
            max_position_embeddings=262_144,
            rope_scaling={"type": "mrope", "mrope_section": [24, 20, 20]},
            tie_word_embeddings=True,
            vocab_size=151_936,
        ),
        vision_config=VisionConfig(**_TOWER_OF_4B, deepstack_visual_indexes=[5, 11, 17]),
        model_type="qwen3_vl",
        vocab_size=151_936,
        **ids,
    )
    return Model(config), _qwen3_processor(tokenizer)


def _qwen3_5_4b(layers: int | None) -> tuple[Any, Any]:
    from mlx_vlm.models.qwen3_5 import Model, ModelConfig, TextConfig, VisionConfig

    tokenizer, ids = _qwen(248_320)
    config = ModelConfig(
        text_config=TextConfig(
            model_type="qwen3_5_text",
            hidden_size=2560,
            num_hidden_layers=layers or 32,
            intermediate_size=9216,
            num_attention_heads=16,
            num_key_value_heads=4,
            head_dim=256,
            linear_num_key_heads=16,
            linear_num_value_heads=32,
            linear_key_head_dim=128,
            linear_value_head_dim=128,
            linear_conv_kernel_dim=4,
            rms_norm_eps=1e-6,
            max_position_embeddings=262_144,
            rope_parameters={
                "type": "default",
                "mrope_section": [11, 11, 10],
                "rope_theta": 1e7,
                "partial_rotary_factor": 0.25,
            },
            tie_word_embeddings=True,
            vocab_size=248_320,
        ),
        vision_config=VisionConfig(**_TOWER_OF_4B, deepstack_visual_indexes=[]),
        model_type="qwen3_5",
        vocab_size=248_320,
        **ids,
    )
    return Model(config), _qwen3_processor(tokenizer)


def _llava_1_5_7b(layers: int | None) -> tuple[Any, Any]:
    from mlx_vlm.models.llava import Model, ModelConfig, TextConfig, VisionConfig
    from mlx_vlm.models.llava.processing_llava import LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    class ImageProcessor(CLIPImageProcessorPil):
        """CLIP's, deaf to the tokenizer's `padding`, which mlx-vlm passes on and transformers refuses."""

        def __call__(self, images: Any, **kwargs: Any) -> Any:
            kwargs.pop("padding", None)
            return super().__call__(images, **kwargs)

    tokenizer = tokenizer_of(32_064, "<image>\n", "<image>")
    config = ModelConfig(
        text_config=TextConfig(
            model_type="llama",
            hidden_size=4096,
            num_hidden_layers=layers or 32,
            intermediate_size=11008,
            num_attention_heads=32,
            num_key_value_heads=32,
            vocab_size=32_064,
        ),
        vision_config=VisionConfig(
            model_type="clip_vision_model",
            num_hidden_layers=24,
            hidden_size=1024,
            intermediate_size=4096,
            num_attention_heads=16,
            image_size=336,
            patch_size=14,
        ),
        model_type="llava",
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vocab_size=32_064,
    )
    images = ImageProcessor(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336})
    processor = LlavaProcessor(
        images,
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=tokenizer.chat_template,
    )
    return Model(config), processor


def _gemma3_4b(layers: int | None) -> tuple[Any, Any]:
    from mlx_vlm.models.gemma3 import Model, ModelConfig, TextConfig, VisionConfig
    from mlx_vlm.models.gemma3.processing_gemma3 import Gemma3Processor
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    names = {
        "image_token": "<image_soft_token>",
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
    }
    tokenizer = tokenizer_of(
        262_208, "<start_of_image>", *names.values(), extra_special_tokens=names | {"bos_token": "<eos>"}
    )
    text = TextConfig(
        model_type="gemma3_text",
        hidden_size=2560,
        num_hidden_layers=layers or 34,
        intermediate_size=10240,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=256,
        vocab_size=262_208,
        query_pre_attn_scalar=256,
        mm_tokens_per_image=256,
        sliding_window_pattern=6,
    )
    vision = VisionConfig(
        model_type="siglip_vision_model",
        num_hidden_layers=27,
        hidden_size=1152,
        intermediate_size=4304,
        num_attention_heads=16,
        patch_size=14,
        image_size=896,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        model_type="gemma3",
        vocab_size=262_208,
        image_token_index=tokenizer.image_token_id,
        hidden_size=2560,
        pad_token_id=tokenizer.pad_token_id,
    )
    images = Gemma3ImageProcessorPil(size={"height": 896, "width": 896})
    processor = Gemma3Processor(
        images, tokenizer, image_seq_length=256, chat_template=tokenizer.chat_template
    )
    return Model(config), processor


def _gemma4_e2b(layers: int | None) -> tuple[Any, Any]:
    from mlx_vlm.models.gemma4 import Model, ModelConfig, TextConfig, VisionConfig
    from mlx_vlm.models.gemma4.processing_gemma4 import Gemma4ImageProcessor, Gemma4Processor

    names = {
        f"{name}_token": token
        for name, token in (
            ("image", "<|image|>"),
            ("boi", "<|image>"),
            ("eoi", "<image|>"),
            ("video", "<|video|>"),
        )
    }
    size = 262_144
    tokenizer = tokenizer_of(size, "<|image|>", *names.values(), "<|audio|>", extra_special_tokens=names)
    ids = tokenizer.convert_tokens_to_ids
    config = ModelConfig(  # mlx-vlm's own defaults are this checkpoint's
        text_config=TextConfig(
            **({"num_hidden_layers": layers, "num_kv_shared_layers": 0} if layers else {})
        ),
        vision_config=VisionConfig(),
        image_token_id=ids("<|image|>"),
        audio_token_id=ids("<|audio|>"),
        video_token_id=ids("<|video|>"),
        boi_token_id=ids("<|image>"),
        eoi_token_id=ids("<image|>"),
    )
    processor = Gemma4Processor(Gemma4ImageProcessor(), tokenizer, chat_template=tokenizer.chat_template)
    return Model(config), processor


def _smolvlm2_2b(layers: int | None) -> tuple[Any, Any]:
    from mlx_vlm.models.idefics3 import Model, ModelConfig, TextConfig, VisionConfig
    from mlx_vlm.models.idefics3.processing_idefics3 import Idefics3Processor
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    places = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    specials = ("<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", *places)
    tokenizer = tokenizer_of(49_280, "<image>", *specials)
    config = ModelConfig(
        text_config=TextConfig(
            model_type="llama",
            hidden_size=2048,
            intermediate_size=8192,
            num_attention_heads=32,
            num_key_value_heads=32,
            num_hidden_layers=layers or 24,
            rms_norm_eps=1e-5,
            vocab_size=49_280,
        ),
        vision_config=VisionConfig(
            model_type="idefics3",
            hidden_size=1152,
            intermediate_size=4304,
            num_attention_heads=16,
            num_hidden_layers=27,
            patch_size=14,
            image_size=384,
        ),
        model_type="idefics3",
        vocab_size=49_280,
        scale_factor=3,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    images = Idefics3ImageProcessorPil(size={"longest_edge": 1536}, max_image_size={"longest_edge": 384})
    processor = Idefics3Processor(images, tokenizer, image_seq_len=81, chat_template=tokenizer.chat_template)
    return Model(config), processor


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("qwen2.5-vl-3b", _qwen2_5_vl_3b),
        Shape("qwen2.5-vl-7b", _qwen2_5_vl_7b),
        Shape("qwen3-vl-4b", _qwen3_vl_4b),
        Shape("qwen3.5-4b", _qwen3_5_4b),
        Shape("gemma-3-4b", _gemma3_4b),
        Shape("gemma-4-e2b", _gemma4_e2b),
        Shape("smolvlm2-2.2b", _smolvlm2_2b),
        Shape("llava-1.5-7b", _llava_1_5_7b),
    )
}


def build(name: str, layers: int | None = None, dtype: Any = mx.bfloat16) -> tuple[Any, Any]:
    """A model of a shape with random weights of a type, all evaluated, and its processor."""
    mx.random.seed(0)
    model, processor = SHAPES[name].make(layers)
    model.set_dtype(dtype)
    mx.eval(model.parameters())
    # What mlx_vlm.load adds to a processor.
    processor.detokenizer = NaiveStreamingDetokenizer(processor.tokenizer)
    processor.tokenizer.stopping_criteria = StoppingCriteria(
        [processor.tokenizer.eos_token_id], processor.tokenizer
    )
    return model.eval(), processor


def described(dtype: Any, layers: int | None, *more: str) -> str:
    """Describe a model of such shapes for a result."""
    weights = f"weights random {str(dtype).removeprefix('mlx.core.')}"
    return "; ".join([weights, f"language model of {layers or 'all'} layers", *filter(None, more)])
