"""Whisper: log-mel features, the encoder on a window of the clip's own length, and greedy transcription.

Written out here rather than called in transformers because its encoder takes 30 s windows only, and because the DiVA
connector is the same decoder block with queries for tokens. Weight names are transformers' own.

B batch, S waveform samples, M mel frames (10 ms), T encoder positions (20 ms), N tokens, D width, H heads, V vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

RATE = 16_000  # Hz
HOP = 160  # samples per mel frame
PER_POSITION = 2 * HOP  # samples per encoder position: the second convolution has stride 2
WINDOW_SECONDS = 30.0  # what Whisper was trained to hear at once
FULL = int(WINDOW_SECONDS * RATE)
_N_FFT = 400
_SHORTEST = 1600  # samples (0.1 s): shorter clips are padded with silence, the transform needs something to look at
_MAX_NEW = 224  # tokens: half of the decoder's 448 positions, Whisper's own limit

Wave = NDArray[np.float32]


class Attention(nn.Module):
    """Multi-head attention with Whisper's bias pattern: none on the keys."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def split(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, H, N, D/H)"""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.split(self.k_proj(x)), self.split(self.v_proj(x))

    def forward(
        self, x: Tensor, keys_values: tuple[Tensor, Tensor], mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """x (B, N, D); keys and values (B, H, T, D/H); mask (B, 1, 1, T), True where attention may look."""
        key, value = keys_values
        out = F.scaled_dot_product_attention(self.split(self.q_proj(x)), key, value, attn_mask=mask, is_causal=causal)
        return self.out_proj(out.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Pre-norm transformer block; with `cross`, a decoder block that also looks at encoder states."""

    def __init__(self, width: int, heads: int, ffn: int, cross: bool) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        if cross:
            self.encoder_attn = Attention(width, heads)
            self.encoder_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, ffn)
        self.fc2 = nn.Linear(ffn, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def feed(self, x: Tensor) -> Tensor:
        return x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))  # type: ignore[no-any-return]

    def encode(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, D) -> (B, T, D), every position sees every other that `mask` (B, 1, 1, T) allows."""
        normed = self.self_attn_layer_norm(x)
        return self.feed(x + self.self_attn(normed, self.self_attn.keys_values(normed), mask))

    def query(self, x: Tensor, states: Tensor, mask: Tensor | None) -> Tensor:
        """All positions at once, causal over x (B, N, D), looking at states (B, T, D) under mask (B, 1, 1, T)."""
        normed = self.self_attn_layer_norm(x)
        x = x + self.self_attn(normed, self.self_attn.keys_values(normed), causal=True)
        normed = self.encoder_attn_layer_norm(x)
        return self.feed(x + self.encoder_attn(normed, self.encoder_attn.keys_values(states), mask))

    def step(
        self, x: Tensor, past: tuple[Tensor, Tensor] | None, cross: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Decode x (B, N, D) after `past` keys and values; N > 1 only at the start, where it is causal."""
        normed = self.self_attn_layer_norm(x)
        key, value = self.self_attn.keys_values(normed)
        if past is not None:
            key, value = torch.cat([past[0], key], dim=2), torch.cat([past[1], value], dim=2)
        x = x + self.self_attn(normed, (key, value), causal=past is None)
        x = x + self.encoder_attn(self.encoder_attn_layer_norm(x), cross)
        return self.feed(x), (key, value)


class Encoder(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width = config["d_model"]
        self.conv1 = nn.Conv1d(config["num_mel_bins"], width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(config["max_source_positions"], width)
        heads, ffn = config["encoder_attention_heads"], config["encoder_ffn_dim"]
        self.layers = nn.ModuleList(Block(width, heads, ffn, cross=False) for _ in range(config["encoder_layers"]))
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, mel: Tensor, mask: Tensor | None) -> Tensor:
        """mel (B, bins, M), mask (B, T) True where there is sound -> (B, T, D), T = M / 2."""
        x = F.gelu(self.conv2(F.gelu(self.conv1(mel)))).transpose(1, 2)
        x = x + self.embed_positions.weight[: x.shape[1]]
        look = None if mask is None else mask[:, None, None, :]
        for layer in self.layers:
            x = layer.encode(x, look)
        return self.layer_norm(x)  # type: ignore[no-any-return]


class Decoder(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width = config["d_model"]
        self.embed_tokens = nn.Embedding(config["vocab_size"], width)
        self.embed_positions = nn.Embedding(config["max_target_positions"], width)
        heads, ffn = config["decoder_attention_heads"], config["decoder_ffn_dim"]
        self.layers = nn.ModuleList(Block(width, heads, ffn, cross=True) for _ in range(config["decoder_layers"]))
        self.layer_norm = nn.LayerNorm(width)


class Whisper:
    """Encoder and decoder with their tokenizer. Immutable once loaded; same input, same output."""

    def __init__(self, folder: Path, device: str, dtype: torch.dtype) -> None:
        from tokenizers import Tokenizer

        self.config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.device, self.dtype = torch.device(device), dtype
        # fast slaney mel filters as in Whisper's own mel_filters.npz
        from transformers.audio_utils import mel_filter_bank

        filters = mel_filter_bank(
            1 + _N_FFT // 2, self.config["num_mel_bins"], 0.0, 8000.0, RATE, norm="slaney", mel_scale="slaney"
        )
        self._filters = torch.from_numpy(filters).float().T.contiguous().to(self.device)  # (bins, 201)
        self._hann = torch.hann_window(_N_FFT, device=self.device)
        weights = load_file(folder / "model.safetensors")
        self.encoder = Encoder(self.config)
        self.decoder = Decoder(self.config)
        for part, name in ((self.encoder, "encoder"), (self.decoder, "decoder")):
            prefix = f"model.{name}."
            part.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})
            part.to(self.device, dtype).eval().requires_grad_(False)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._prompt, self._end, self._never, self._never_first = self._special(folder)

    @classmethod
    def load(cls, folder: Path, device: str = "cpu", dtype: str = "float32") -> Whisper:
        """`folder`: as convert.py writes it. `dtype`: float32, bfloat16 or float16."""
        return cls(folder, device, getattr(torch, dtype))

    def _special(self, folder: Path) -> tuple[list[int], int, list[int], list[int]]:
        """(prompt ids, end id, ids never emitted, ids not emitted first)."""

        def ident(token: str) -> int | None:
            found = self._tokenizer.token_to_id(token)
            return None if found is None else int(found)

        start, end = ident("<|startoftranscript|>"), ident("<|endoftext|>")
        assert start is not None
        assert end is not None
        multilingual = self.config["vocab_size"] >= 51865  # Whisper's own test, whisper/model.py is_multilingual
        middle = [ident("<|en|>"), ident("<|transcribe|>")] if multilingual else []
        prompt = [i for i in (start, *middle, ident("<|notimestamps|>")) if i is not None]
        generation = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
        never = set(generation.get("suppress_tokens") or self.config.get("suppress_tokens") or [])
        never |= set(range(end + 1, self.config["vocab_size"]))  # no special token, no time stamp
        first = generation.get("begin_suppress_tokens") or self.config.get("begin_suppress_tokens") or [220, end]
        return prompt, end, sorted(i for i in never if i >= 0), list(first)

    def mel(self, wave: Wave, samples: int) -> Tensor:
        """(S,) float32 at 16 kHz, padded with silence to `samples` -> (bins, samples / 160), scaled as Whisper does."""
        x = torch.zeros(samples, device=self.device)
        x[: len(wave)] = torch.from_numpy(wave).to(self.device)
        spectrum = torch.stft(x, _N_FFT, HOP, window=self._hann, return_complex=True)[:, :-1].abs() ** 2
        log = torch.log10((self._filters @ spectrum).clamp(min=1e-10))
        return (torch.maximum(log, log.max() - 8.0) + 4.0) / 4.0

    @torch.inference_mode()
    def encode(self, waves: Sequence[Wave]) -> tuple[Tensor, Tensor]:
        """Clips of at most 30 s -> states (B, T, D) and mask (B, T), True where a clip has sound.

        The window is the clip's own length; a row does not depend on the others: features are made clip by clip,
        padding is zero like the convolution's own, and attention does not look at it.
        """
        lengths = [-(-max(len(w), _SHORTEST) // PER_POSITION) for w in waves]
        longest = max(lengths)
        if longest > FULL // PER_POSITION:
            raise ValueError(f"a clip of {longest * PER_POSITION / RATE:.1f} s is over Whisper's {WINDOW_SECONDS:.0f} s")
        mel = torch.zeros(len(waves), self.config["num_mel_bins"], 2 * longest, device=self.device)
        for row, (wave, length) in enumerate(zip(waves, lengths, strict=True)):
            mel[row, :, : 2 * length] = self.mel(wave, length * PER_POSITION)
        mask = torch.arange(longest, device=self.device) < torch.tensor(lengths, device=self.device)[:, None]
        return self.encoder(mel.to(self.dtype), mask), mask

    @torch.inference_mode()
    def transcribe(self, waves: Sequence[Wave]) -> list[str]:
        """Greedy English transcripts of clips of at most 30 s, without time stamps, each in a full 30 s window."""
        if not waves:
            return []
        if max(len(w) for w in waves) > FULL:
            raise ValueError(f"a clip is over Whisper's {WINDOW_SECONDS:.0f} s")
        mel = torch.stack([self.mel(w, FULL) for w in waves])
        states = self.encoder(mel.to(self.dtype), None)
        cross = [layer.encoder_attn.keys_values(states) for layer in self.decoder.layers]
        return [self._tokenizer.decode(ids).strip() for ids in self._greedy(cross, len(waves))]

    def _greedy(self, cross: list[tuple[Tensor, Tensor]], rows: int) -> list[list[int]]:
        decoder = self.decoder
        tokens = torch.tensor([self._prompt] * rows, device=self.device)  # (B, N)
        past: list[tuple[Tensor, Tensor] | None] = [None] * len(decoder.layers)
        out: list[list[int]] = [[] for _ in range(rows)]
        open_rows = torch.ones(rows, dtype=torch.bool, device=self.device)
        position = 0
        for step in range(_MAX_NEW):
            x = decoder.embed_tokens(tokens)
            x = x + decoder.embed_positions.weight[position : position + tokens.shape[1]]
            position += tokens.shape[1]
            for i, layer in enumerate(decoder.layers):
                x, past[i] = layer.step(x, past[i], cross[i])
            logits = (decoder.layer_norm(x[:, -1]) @ decoder.embed_tokens.weight.T).float()  # (B, V)
            logits[:, self._never] = -torch.inf
            if step == 0:
                logits[:, self._never_first] = -torch.inf
            chosen = logits.argmax(-1)
            open_rows = open_rows & (chosen != self._end)
            if not open_rows.any():
                break
            for row in open_rows.nonzero()[:, 0].tolist():
                out[row].append(int(chosen[row]))
            tokens = chosen[:, None]
        return out
