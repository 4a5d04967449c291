"""Whisper: log-mel features, the encoder on a window of the clip's own length, and greedy transcription.

It is implemented here, because the encoder of transformers accepts only windows of 30 s, and because the DiVA connector
is the same decoder block with queries instead of tokens. Weights have the names of transformers.

Shapes: B batch, S waveform samples, M mel frames (10 ms), T encoder positions (20 ms), N tokens, D width, H heads,
V vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from diva_bench.decoding import news, tensors
from diva_bench.errors import AssetError
from diva_bench.types import ENGLISH

RATE = 16_000  # Hz
HOP = 160  # samples per mel frame
PER_POSITION = 2 * HOP  # samples per encoder position: the second convolution has stride 2
WINDOW_SECONDS = 30.0  # the window in Whisper's training
FULL = int(WINDOW_SECONDS * RATE)
_N_FFT = 400
SHORTEST = 1600
"""Samples (0.1 s); shorter clips are padded with silence."""
_MULTILINGUAL = 51865  # vocabulary entries: English-only models have fewer (whisper/model.py, is_multilingual)
_ENCODE_ROWS, _ENCODE_ROWS_CPU = 8, 2
"""Windows of 30 s that are encoded at once. On a CPU two take 10 % less time a window than eight, whose activations fit no
cache; the states are the same bits (benchmarks/peers/README.md)."""
_CROSS_BYTES = 2 << 30
_MAX_NEW = 224  # tokens: half of the decoder's 448 positions, Whisper's own limit

Wave = NDArray[np.float32]
Pair = tuple[Tensor, Tensor]
"""Keys and values, each (B, H, N, D/H)."""

_CODES = {"cmn": "zh", "fil": "tl", "jv": "jw", "nb": "no"}
"""Language codes that Whisper writes in another way (whisper/tokenizer.py, LANGUAGES)."""


class Recogniser(Protocol):
    """What transcribes: Whisper, or another one (parakeet.py)."""

    device: torch.device
    dtype: torch.dtype
    config: dict[str, Any]

    @property
    def max_seconds(self) -> float: ...

    @property
    def parts(self) -> list[nn.Module]: ...

    def knows(self, language: str, /) -> bool: ...

    def transcribe(self, waves: Sequence[Wave], language: str = ENGLISH, /) -> list[str]: ...


def _token(language: str) -> str:
    """Whisper's token of a language: that of pt-BR is <|pt|>."""
    code = language.partition("-")[0].lower()
    return f"<|{_CODES.get(code, code)}|>"


def _attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
    """`F.scaled_dot_product_attention` as two matrix products. On a CPU the backward pass of torch's version takes a third
    of a training step, ten times as long as its operations need; benchmarks/training.txt has both."""
    scores: Tensor = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(later, -torch.inf)
    elif mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(-1).to(value.dtype) @ value


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
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.split(self.k_proj(x)), self.split(self.v_proj(x))

    def forward(
        self, x: Tensor, keys_values: tuple[Tensor, Tensor], mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """x (B, N, D); keys and values (B, H, T, D/H); mask (B, 1, 1 or N, T), True where attention may look, or numbers
        that are added to its scores."""
        key, value = keys_values
        query = self.split(self.q_proj(x))
        if query.requires_grad and query.device.type == "cpu":
            out = _attention(query, key, value, mask, causal)
        else:
            out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)
        return self.out_proj(out.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class TransformerBlock(nn.Module):
    """Pre-norm transformer block; with `cross`, a decoder block with cross-attention to encoder states."""

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

    def query(self, x: Tensor, states: Tensor, mask: Tensor | None, within: Tensor | None = None) -> Tensor:
        """All positions of x (B, N, D) at once, looking at states (B, T, D) under mask (B, 1, 1 or N, T): causal, or,
        with `within` (B, 1, 1, N), each position attends to all that it allows."""
        normed = self.self_attn_layer_norm(x)
        x = x + self.self_attn(normed, self.self_attn.keys_values(normed), within, causal=within is None)
        normed = self.encoder_attn_layer_norm(x)
        return self.feed(x + self.encoder_attn(normed, self.encoder_attn.keys_values(states), mask))

    def step(self, x: Tensor, past: Pair | None, cross: Pair, mask: Tensor | None) -> tuple[Tensor, Pair]:
        """Decode x (B, N, D) after `past`; N > 1 only at the start, where it is causal. `mask` as in `query`."""
        normed = self.self_attn_layer_norm(x)
        key, value = self.self_attn.keys_values(normed)
        if past is not None:
            key, value = torch.cat([past[0], key], dim=2), torch.cat([past[1], value], dim=2)
        x = x + self.self_attn(normed, (key, value), causal=past is None)
        x = x + self.encoder_attn(self.encoder_attn_layer_norm(x), cross, mask)
        return self.feed(x), (key, value)


class Encoder(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width = config["d_model"]
        self.conv1 = nn.Conv1d(config["num_mel_bins"], width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(config["max_source_positions"], width)
        heads, ffn = config["encoder_attention_heads"], config["encoder_ffn_dim"]
        self.blocks = [TransformerBlock(width, heads, ffn, cross=False) for _ in range(config["encoder_layers"])]
        self.layers = nn.ModuleList(self.blocks)  # the name in the weights file
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, mel: Tensor, mask: Tensor | None) -> Tensor:
        """mel (B, bins, M), mask (B, T) True where there is sound -> (B, T, D), T = M / 2."""
        x = F.gelu(self.conv2(F.gelu(self.conv1(mel)))).transpose(1, 2)
        x = x + self.embed_positions.weight[: x.shape[1]]
        look = None if mask is None else mask[:, None, None, :]
        for block in self.blocks:
            x = block.encode(x, look)
        return self.layer_norm(x)  # type: ignore[no-any-return]


class Decoder(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width = config["d_model"]
        self.embed_tokens = nn.Embedding(config["vocab_size"], width)
        self.embed_positions = nn.Embedding(config["max_target_positions"], width)
        heads, ffn = config["decoder_attention_heads"], config["decoder_ffn_dim"]
        self.blocks = [TransformerBlock(width, heads, ffn, cross=True) for _ in range(config["decoder_layers"])]
        self.layers = nn.ModuleList(self.blocks)
        self.layer_norm = nn.LayerNorm(width)


class Whisper:
    """Encoder and decoder with their tokenizer. Immutable once loaded; same input, same output."""

    max_seconds = WINDOW_SECONDS

    def __init__(self, folder: Path, device: str, dtype: torch.dtype, *, decoder: bool = True) -> None:
        """`decoder`: False: only the encoder is read, a third of Whisper large, and nothing can be transcribed."""
        from transformers.audio_utils import mel_filter_bank

        self.device, self.dtype = torch.device(device), dtype
        try:
            self.config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            with tensors.shapes_only():
                self.encoder = Encoder(self.config)
                self._decoder = Decoder(self.config) if decoder else None
            files = tensors.contents(folder)
            self._fill(self.encoder, "model.encoder.", files)
            if self._decoder is not None:
                self._fill(self._decoder, "model.decoder.", files)
                self._read_words(folder)
        except torch.OutOfMemoryError:
            raise  # a RuntimeError too, but not the folder's fault
        except Exception as err:  # the tokenizers library raises plain Exception
            raise AssetError(
                f"{folder}: this Whisper cannot be loaded ({err}). Remove the folder and pull it again."
            ) from err
        # the slaney filters of Whisper's own mel_filters.npz
        filters = mel_filter_bank(
            1 + _N_FFT // 2, self.config["num_mel_bins"], 0.0, 8000.0, RATE, norm="slaney", mel_scale="slaney"
        )
        self._filters = torch.from_numpy(filters).float().T.contiguous().to(self.device)  # (bins, 201)
        self._hann = torch.hann_window(_N_FFT, device=self.device)

    @classmethod
    def load(cls, folder: Path, device: str = "cpu", dtype: str = "float32", *, decoder: bool = True) -> Whisper:
        """`folder`: as transformers writes it, in one file or in shards. `dtype`: float32, bfloat16 or float16."""
        return cls(folder, device, getattr(torch, dtype), decoder=decoder)

    def _fill(self, part: nn.Module, prefix: str, files: Mapping[str, Path]) -> None:
        names = [name for name in files if name.startswith(prefix)]
        stored = tensors.load(files, names, device=self.device, dtype=self.dtype)
        tensors.fill(part, {name.removeprefix(prefix): value for name, value in stored.items()})

    def _read_words(self, folder: Path) -> None:
        """Read the tokenizer, and the tokens that are never written."""
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._vocabulary: dict[str, int] = self._tokenizer.get_vocab()
        self._end = self._ids("<|endoftext|>")[0]
        self._start()  # raises ValueError for a tokenizer that lacks a token
        generation = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
        never, first = (generation.get(key) or [] for key in ("suppress_tokens", "begin_suppress_tokens"))
        # never a control token or a time stamp: they all come after the end token
        self._never = sorted({*never, *range(self._end + 1, self.config["vocab_size"])})
        self._never_first = sorted({*self._never, *first})

    @property
    def decoder(self) -> Decoder:
        assert self._decoder is not None, "this Whisper was loaded without its decoder"
        return self._decoder

    @property
    def parts(self) -> list[nn.Module]:
        """Encoder, and decoder if it was loaded."""
        return [part for part in (self.encoder, self._decoder) if part is not None]

    def _start(self, language: str = ENGLISH) -> list[int]:
        """The ids that every transcript starts from: the language, transcribe, no time stamps. A Whisper that knows English
        alone has no token for it."""
        names = [_token(language), "<|transcribe|>"] if self._multilingual else []
        return self._ids("<|startoftranscript|>", *names, "<|notimestamps|>")

    def _ids(self, *names: str) -> list[int]:
        if missing := [name for name in names if name not in self._vocabulary]:
            raise ValueError(f"its tokenizer lacks {', '.join(missing)}")
        return [self._vocabulary[name] for name in names]

    @property
    def _multilingual(self) -> bool:
        return bool(self.config["vocab_size"] >= _MULTILINGUAL)

    def knows(self, language: str) -> bool:
        """Whether it transcribes a language, by its code (fr, pt-BR)."""
        return _token(language) in self._vocabulary if self._multilingual else _token(language) == _token(ENGLISH)

    def vocabulary(self) -> dict[str, int]:
        """Token -> id, to match two vocabularies."""
        return dict(self._vocabulary)

    def mel(self, wave: Wave, samples: int) -> Tensor:
        """(S,) float32 at 16 kHz, padded with silence to `samples` -> (bins, samples / 160), scaled as Whisper does."""
        x = torch.zeros(samples, device=self.device)
        clip = torch.from_numpy(wave)
        if self.device.type == "cuda":  # from pinned memory, so that the host prepares the next clip and does not wait
            clip = clip.pin_memory()
        x[: len(wave)].copy_(clip, non_blocking=True)
        spectrum = torch.stft(x, _N_FFT, HOP, window=self._hann, return_complex=True)[:, :-1].abs() ** 2
        log = torch.log10((self._filters @ spectrum).clamp(min=1e-10))
        return (torch.maximum(log, log.max() - 8.0) + 4.0) / 4.0

    @torch.inference_mode()
    def encode(self, waves: Sequence[Wave], full: bool = False) -> tuple[Tensor, Tensor]:
        """Clips of at most 30 s -> states (B, T, D) and mask (B, T), True where a clip has sound.

        The window is the clip's own length; a row does not depend on the others: features are made clip by clip,
        padding is zero like the convolution's own, and attention does not look at it. With `full` it is 30 s, padded
        with silence that is heard, as Whisper was trained and the paper has it.
        """
        mel, mask = self.features(waves, full)
        states = self.encoder(mel, None if full else mask)
        news.report("encode", len(waves))
        return states, mask

    def features(self, waves: Sequence[Wave], full: bool = False) -> tuple[Tensor, Tensor]:
        """Input of the encoder: mel (B, bins, 2 T) in the model's dtype and mask (B, T)."""
        lengths = [-(-max(len(w), SHORTEST) // PER_POSITION) for w in waves]
        longest = max(lengths)
        if longest > FULL // PER_POSITION:
            raise ValueError(
                f"a clip of {longest * PER_POSITION / RATE:.1f} s is over Whisper's {WINDOW_SECONDS:.0f} s"
            )
        if full:
            lengths = [FULL // PER_POSITION] * len(waves)
            longest = lengths[0]
        mel = torch.zeros(len(waves), self.config["num_mel_bins"], 2 * longest, device=self.device)
        for row, (wave, length) in enumerate(zip(waves, lengths, strict=True)):
            mel[row, :, : 2 * length] = self.mel(wave, length * PER_POSITION)
        mask = torch.arange(longest, device=self.device) < torch.tensor(lengths, device=self.device)[:, None]
        return mel.to(self.dtype), mask

    @torch.inference_mode()
    def transcribe(self, waves: Sequence[Wave], language: str = ENGLISH) -> list[str]:
        """Greedy transcripts of clips of at most 30 s in one language that it `knows`, without time stamps, each in a full
        30 s window."""
        if not waves:
            return []
        if max(len(w) for w in waves) > FULL:
            raise ValueError(f"a clip is over Whisper's {WINDOW_SECONDS:.0f} s")
        rows = self._decode_rows()
        ids = [one for at in range(0, len(waves), rows) for one in self._transcribe(waves[at : at + rows], language)]
        return [self._tokenizer.decode(one).strip() for one in ids]

    def _transcribe(self, waves: Sequence[Wave], language: str) -> list[list[int]]:
        """Token ids of clips that are decoded side by side; encoded a few at a time, because the encoder is the memory peak
        and more are not faster on a CPU."""
        states = []
        rows = _ENCODE_ROWS_CPU if self.device.type == "cpu" else _ENCODE_ROWS
        for at in range(0, len(waves), rows):
            part = waves[at : at + rows]
            states.append(self.encoder(torch.stack([self.mel(w, FULL) for w in part]).to(self.dtype), None))
            news.report("encode", len(part))
        return self.decode(torch.cat(states), language=language)

    def _decode_rows(self) -> int:
        """How many clips of 30 s are decoded together: what their keys and values to the encoder's states take is
        bounded."""
        size = self.config
        positions = 2 * (FULL // PER_POSITION) * int(size["d_model"]) * int(size["decoder_layers"])
        return max(1, _CROSS_BYTES // (positions * self.dtype.itemsize))

    @torch.inference_mode()
    def decode(self, states: Tensor, mask: Tensor | None = None, language: str = ENGLISH) -> list[list[int]]:
        """Greedy token ids behind states (B, T, D) under mask (B, T); a row that has ended leaves the batch."""
        decoder = self.decoder
        cross = [block.encoder_attn.keys_values(states) for block in decoder.blocks]
        look = None if mask is None else mask[:, None, None, :]
        rows = list(range(len(states)))
        out: list[list[int]] = [[] for _ in rows]
        tokens = torch.tensor([self._start(language)] * len(rows), device=self.device)  # (B, N)
        past: list[Pair | None] = [None] * len(decoder.blocks)
        position = 0
        for step in range(_MAX_NEW):
            x = decoder.embed_tokens(tokens)
            x = x + decoder.embed_positions.weight[position : position + tokens.shape[1]]
            position += tokens.shape[1]
            for i, block in enumerate(decoder.blocks):
                x, past[i] = block.step(x, past[i], cross[i], look)
            logits = (decoder.layer_norm(x[:, -1]) @ decoder.embed_tokens.weight.T).float()  # (B, V)
            logits[:, self._never_first if step == 0 else self._never] = -torch.inf
            selection = logits.argmax(-1).tolist()
            keep = [k for k, token in enumerate(selection) if token != self._end]
            for k in keep:
                out[rows[k]].append(selection[k])
            news.report("transcribe", len(rows) - len(keep))
            if not keep:
                break
            if len(keep) < len(rows):
                index = torch.tensor(keep, device=self.device)
                past = [(pair[0][index], pair[1][index]) for pair in past if pair is not None]
                cross = [(key[index], value[index]) for key, value in cross]
                look = None if look is None else look[index]
                rows, selection = [rows[k] for k in keep], [selection[k] for k in keep]
            tokens = torch.tensor(selection, device=self.device)[:, None]
        return out
