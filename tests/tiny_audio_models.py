"""Audio LLMs of a megabyte with random weights, in the layouts of the published ones: config, safetensors, tokenizer,
preprocessor_config.json, chat template."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from tiny_models import byte_tokenizer, enlarged
from tokenizers import AddedToken

TEXT = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 8192,
}  # fmt: skip
OMNI = {
    "image_token": "<|IMAGE|>", "audio_token": "<|AUDIO|>", "video_token": "<|VIDEO|>", "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>", "audio_bos_token": "<|audio_bos|>", "audio_eos_token": "<|audio_eos|>",
}  # fmt: skip
TURN = (  # content as a list of parts, or as text
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for c in m.content %}{% if c.type == 'audio' %}AUDIO{% else %}{{ c.text }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
STRINGS = (  # content as text alone, which has the place of the audio
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer(*specials: str, template: str, named: Mapping[str, str] | None = None) -> Any:
    """256 bytes, some words, and control tokens; `named`: those with a name of their own (`audio_token`)."""
    inner = byte_tokenizer()
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *specials, *(named or {}).values()]
    inner.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    made: Any = hf.PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=template,
        extra_special_tokens=dict(named or {}), padding_side="right",
    )  # fmt: skip
    return made


def finish(folder: Path, model: Any, made: Any, extractor: Any, processor: str, **more: Any) -> Path:
    """Save a model as it is published; `more`: of the processor."""
    enlarged(model)
    ids = {"eos_token_id": made.convert_tokens_to_ids("<|im_end|>"), "pad_token_id": made.pad_token_id}
    for key, value in ids.items():
        setattr(model.generation_config, key, value)
    model.save_pretrained(folder)
    made.save_pretrained(folder)
    if extractor is not None:
        extractor.save_pretrained(folder)
    for name in ("preprocessor_config.json", "processor_config.json"):
        path = folder / name
        before = json.loads(path.read_text()) if path.exists() else {}
        if before or name == "preprocessor_config.json":
            path.write_text(json.dumps({**before, "processor_class": processor, **more}))
    return folder


def qwen2_audio(folder: Path) -> Path:
    made = tokenizer("<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>", template=TURN.replace(
        "AUDIO", "Audio 1: <|audio_bos|><|AUDIO|><|audio_eos|>\n"))  # fmt: skip
    config = hf.Qwen2AudioConfig(
        audio_config={"model_type": "qwen2_audio_encoder", "num_mel_bins": 128, "d_model": 32, "encoder_layers": 2,
                      "encoder_attention_heads": 2, "encoder_ffn_dim": 64},
        text_config={"model_type": "qwen2", "vocab_size": len(made), **TEXT},
        audio_token_index=made.convert_tokens_to_ids("<|AUDIO|>"),
    )  # fmt: skip
    model = hf.Qwen2AudioForConditionalGeneration(config)
    return finish(folder, model, made, hf.WhisperFeatureExtractor(feature_size=128), "Qwen2AudioProcessor")


def _omni(made: Any) -> dict[str, int]:
    i = made.convert_tokens_to_ids
    return {
        "audio_token_id": i("<|AUDIO|>"), "image_token_id": i("<|IMAGE|>"), "video_token_id": i("<|VIDEO|>"),
        "vision_start_token_id": i("<|vision_bos|>"), "vision_end_token_id": i("<|vision_eos|>"),
        "audio_start_token_id": i("<|audio_bos|>"), "audio_end_token_id": i("<|audio_eos|>"), "user_token_id": 1,
    }  # fmt: skip


def _whole(folder: Path, model_type: str, architecture: str) -> None:
    """The thinker as a part of the whole model, as it is published: with a talker beside it, which is not read."""
    part = json.loads((folder / "config.json").read_text())
    part.pop("architectures")
    whole = {
        "architectures": [architecture],
        "model_type": model_type,
        "thinker_config": part,
        "enable_audio_output": True,
    }
    (folder / "config.json").write_text(json.dumps(whole))
    weights = {f"thinker.{name}": value for name, value in load_file(folder / "model.safetensors").items()}
    save_file(
        {**weights, "talker.codec_head.weight": torch.zeros(4, 4)}, folder / "model.safetensors", {"format": "pt"}
    )


def qwen25_omni(folder: Path) -> Path:
    made = tokenizer(template=TURN.replace("AUDIO", "<|audio_bos|><|AUDIO|><|audio_eos|>"), named=OMNI)
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
    config = hf.Qwen2_5OmniThinkerConfig(
        audio_config={"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 64,
                      "output_dim": 64, "n_window": 100},
        text_config={"vocab_size": len(made), "rope_parameters": rope, **TEXT},
        vision_config={"depth": 1, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64,
                       "fullatt_block_indexes": [0]},
        **_omni(made),
    )  # fmt: skip
    model = hf.Qwen2_5OmniThinkerForConditionalGeneration(config)
    extractor = hf.WhisperFeatureExtractor(
        feature_size=128, chunk_length=40
    )  # published: 300, to which clips are padded
    finish(folder, model, made, extractor, "Qwen2_5OmniProcessor")
    _whole(folder, "qwen2_5_omni", "Qwen2_5OmniModel")
    return folder


def qwen3_omni(folder: Path) -> Path:
    made = tokenizer(template=TURN.replace("AUDIO", "<|audio_bos|><|AUDIO|><|audio_eos|>"), named=OMNI)
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 2, 2], "mrope_interleaved": True}
    config = hf.Qwen3OmniMoeThinkerConfig(
        audio_config={"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 64,
                      "output_dim": 64, "downsample_hidden_size": 16},
        text_config={"vocab_size": len(made), "rope_parameters": rope, "num_experts": 4, "num_experts_per_tok": 2,
                     "moe_intermediate_size": 32, "head_dim": 16, **TEXT},
        vision_config={"depth": 1, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64,
                       "deepstack_visual_indexes": [0], "num_position_embeddings": 16},
        **_omni(made),
    )  # fmt: skip
    model = hf.Qwen3OmniMoeThinkerForConditionalGeneration(config)
    extractor = hf.WhisperFeatureExtractor(feature_size=128, chunk_length=300)
    finish(folder, model, made, extractor, "Qwen3OmniMoeProcessor")
    _whole(folder, "qwen3_omni_moe", "Qwen3OmniMoeForConditionalGeneration")
    return folder


def voxtral(folder: Path) -> Path:
    """The tokenizer is a file in the form of Mistral's, with 256 bytes, some words, and the control tokens of Voxtral."""
    count = 100
    names = {
        0: "<unk>",
        1: "<s>",
        2: "</s>",
        3: "[INST]",
        4: "[/INST]",
        11: "<pad>",
        24: "[AUDIO]",
        25: "[BEGIN_AUDIO]",
    }
    words = [bytes([byte]) for byte in range(256)] + [b"ha", b"pp", b"happ", b"sa", b"sad"]
    table = {
        "config": {"pattern": r"[a-z]+|[^a-z]", "num_vocab_tokens": len(words), "default_vocab_size": len(words) + count,
                   "default_num_special_tokens": count, "version": "v7"},
        "vocab": [{"rank": i, "token_bytes": base64.b64encode(w).decode(), "token_str": None} for i, w in enumerate(words)],
        "special_tokens": [
            {"rank": i, "token_str": names.get(i, f"<SPECIAL_{i}>"), "is_control": True} for i in range(count)
        ],
        "audio": {"sampling_rate": 16000, "frame_rate": 12.5, "chunk_length_s": 30.0,
                  "audio_encoding_config": {"num_mel_bins": 128, "hop_length": 160, "window_size": 400}},
    }  # fmt: skip
    config = hf.VoxtralConfig(
        audio_config={"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2},
        text_config={"model_type": "llama", "vocab_size": len(words) + count, "head_dim": 16, **TEXT},
        audio_token_id=24,
    )
    model = enlarged(hf.VoxtralForConditionalGeneration(config))
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = 2, 11
    model.save_pretrained(folder)
    (folder / "tekken.json").write_text(json.dumps(table), encoding="utf-8")
    hf.WhisperFeatureExtractor(feature_size=128).save_pretrained(folder)
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": "VoxtralProcessor"}))
    return folder


def audio_flamingo3(folder: Path) -> Path:
    made = tokenizer("<sound>", template=TURN.replace("AUDIO", "<sound>"))
    config = hf.AudioFlamingo3Config(
        audio_config={"model_type": "audioflamingo3_encoder", "hidden_size": 32, "num_hidden_layers": 2,
                      "num_attention_heads": 2, "intermediate_size": 64},
        text_config={"model_type": "qwen2", "vocab_size": len(made), **TEXT},
        audio_token_id=made.convert_tokens_to_ids("<sound>"),
    )  # fmt: skip
    model = hf.AudioFlamingo3ForConditionalGeneration(config)
    return finish(folder, model, made, hf.WhisperFeatureExtractor(feature_size=128), "AudioFlamingo3Processor")


def glm_asr(folder: Path) -> Path:
    made = tokenizer("<|pad|>", template=TURN.replace("AUDIO", "<|pad|>"))
    config = hf.GlmAsrConfig(
        audio_config={"model_type": "glmasr_encoder", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
                      "intermediate_size": 128},
        text_config={"model_type": "llama", "vocab_size": len(made), **TEXT},
        audio_token_id=made.convert_tokens_to_ids("<|pad|>"),
    )  # fmt: skip
    model = hf.GlmAsrForConditionalGeneration(config)
    return finish(folder, model, made, hf.WhisperFeatureExtractor(feature_size=128), "GlmAsrProcessor")


def granite_speech(folder: Path) -> Path:
    made = tokenizer("<|audio|>", template=STRINGS)
    config = hf.GraniteSpeechConfig(
        text_config={"model_type": "granite", "vocab_size": len(made), "embedding_multiplier": 3.0, "logits_scaling": 2.0,
                     **TEXT},
        encoder_config={"num_layers": 2, "hidden_dim": 32, "num_heads": 2, "dim_head": 16, "dropout": 0.0, "context_size": 200},
        projector_config={"model_type": "blip_2_qformer", "hidden_size": 32, "num_hidden_layers": 1,
                          "num_attention_heads": 2, "intermediate_size": 64, "encoder_hidden_size": 32,
                          "cross_attention_frequency": 1},
        audio_token_index=made.convert_tokens_to_ids("<|audio|>"),
        has_lora_adapter=True,
    )  # fmt: skip
    model = hf.GraniteSpeechForConditionalGeneration(config)
    extractor = {
        "feature_extractor_type": "GraniteSpeechFeatureExtractor",
        "sampling_rate": 16000,
    }  # needs torchaudio itself
    finish(folder, model, made, None, "GraniteSpeechProcessor", **extractor)
    _adapter(folder, folder, "q_proj")
    return folder


def phi4(folder: Path) -> Path:
    named = {"audio_token": "<|audio|>", "image_token": "<|image|>"}
    made = tokenizer(template=STRINGS, named=named)
    audio = {"hidden_size": 32, "intermediate_size": 64, "num_blocks": 2, "num_attention_heads": 2,
             "ext_pw_out_channel": 32, "depthwise_separable_out_channel": 32, "nemo_conv_channels": 32,
             "audio_token_id": made.convert_tokens_to_ids("<|audio|>")}  # fmt: skip
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
              "crop_size": 28, "image_size": 28, "image_token_id": made.convert_tokens_to_ids("<|image|>")}  # fmt: skip
    config = hf.Phi4MultimodalConfig(
        vocab_size=len(made), audio_config=audio, vision_config=vision, bos_token_id=1, eos_token_id=2,
        pad_token_id=made.pad_token_id, **TEXT,
    )  # fmt: skip
    model = hf.Phi4MultimodalForCausalLM(config)
    finish(folder, model, made, hf.Phi4MultimodalFeatureExtractor(), "Phi4MultimodalProcessor")
    _adapter(folder / "speech-lora", folder, "qkv_proj")
    return folder


def _adapter(target: Path, base: Path, name: str) -> None:
    """A LoRA of rank 4 whose product is not zero, in the layout of peft."""
    target.mkdir(exist_ok=True)
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": [name], "task_type": "CAUSAL_LM",
              "base_model_name_or_path": "base", "bias": "none", "lora_dropout": 0.0}  # fmt: skip
    (target / "adapter_config.json").write_text(json.dumps(config))
    weights = load_file(base / "model.safetensors")
    draws = torch.Generator().manual_seed(5)
    tensors = {}
    ends = f".self_attn.{name}.weight"
    modules = [
        key.removesuffix(".weight")
        for key in weights
        if key.endswith(ends) and "encoder" not in key and "vision" not in key
    ]
    for module in modules:
        out, width = weights[f"{module}.weight"].shape
        tensors[f"base_model.model.{module}.lora_A.weight"] = 0.3 * torch.randn(4, width, generator=draws)
        tensors[f"base_model.model.{module}.lora_B.weight"] = 0.3 * torch.randn(out, 4, generator=draws)
    save_file(tensors, target / "adapter_model.safetensors")


BUILDERS: dict[str, Callable[[Path], Path]] = {
    "qwen2-audio": qwen2_audio,
    "qwen2.5-omni": qwen25_omni,
    "qwen3-omni": qwen3_omni,
    "voxtral": voxtral,
    "audio-flamingo-3": audio_flamingo3,
    "glm-asr": glm_asr,
    "granite-speech": granite_speech,
    "phi-4-multimodal": phi4,
}
"""Model of `models/` -> what makes a folder like its weights."""
