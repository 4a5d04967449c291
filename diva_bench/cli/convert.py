"""`convert`: convert a connector to and from the published DiVA checkpoints."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from diva_bench import disk
from diva_bench.catalog import Catalog
from diva_bench.cli.progress import Terminal
from diva_bench.cli.streams import say
from diva_bench.errors import AssetError, UserError
from diva_bench.weights import assets

if TYPE_CHECKING:
    from torch import Tensor

Form = Literal["published", "diva-bench"]
_EMBEDDINGS = "model.embed_tokens.weight"  # name in Llama, Qwen, Gemma and Mistral of transformers


def convert_command(
    source: Path,
    target: Path,
    *,
    encoder: str | None = None,
    llm: str | None = None,
    to: Form | None = None,
    partial: bool = False,
    paths: Sequence[Path] = (),
) -> int:
    """Exit code 0.

    Args:
        encoder, llm: Whisper and LLM: the name of weights, or a folder.
        to: None: "published" for an exported connector, "diva-bench" for any other source.
    """
    if not source.exists():
        raise UserError(f"{source}: no such file or folder. Give an exported connector or a published checkpoint.")
    if (file := target if target.is_file() else target / "connector.safetensors").exists():
        raise UserError(f"{file}: already exists. Give another target, or remove it.")
    ours = (source / "connector.safetensors").is_file()
    form = to or ("published" if ours else "diva-bench")
    if ours != (form == "published"):
        description = "a connector of diva-bench" if ours else "no folder with connector.safetensors and config.json"
        raise UserError(f"{source}: this is {description}, so it cannot be converted --to {form}.")
    catalog, progress = Catalog(paths), Terminal()
    if form == "published":
        say(_to_published(source, target, encoder, partial, catalog, progress))
    elif encoder is None or llm is None:
        raise UserError(
            f"{source}: a published checkpoint does not name its encoder and its LLM. Give both with --encoder (for "
            "the 8B one Whisper large-v3) and --llm (Llama 3 8B Instruct): weights from the catalog, or folders."
        )
    else:
        say(_to_ours(source, target, encoder, llm, catalog, progress))
    return 0


def _folder(catalog: Catalog, name: str, progress: Terminal) -> Path:
    """The folder of weights, given by their name or by the folder itself."""
    return Path(name) if name.strip() and Path(name).is_dir() else assets.ready(*catalog.weights(name), progress)


def _to_published(
    source: Path, target: Path, encoder: str | None, partial: bool, catalog: Catalog, progress: Terminal
) -> str:
    """Write the file, and return a message about it."""
    from safetensors.torch import save_file

    from diva_bench.decoding.whisper import Whisper
    from diva_bench.diva import checkpoint
    from diva_bench.diva.published import to_published

    if target.suffix != ".safetensors":
        raise UserError(f"{target}: a published checkpoint is a file; give it a name that ends in .safetensors.")
    if (source / checkpoint.ENCODER).exists():
        raise UserError(
            f"{source / checkpoint.ENCODER}: this connector was trained with an encoder of its own. A published "
            "checkpoint has none: the reference code takes Whisper's, which does not fit this connector."
        )
    connector = checkpoint.load(source)
    about = _about(source)
    whisper = Whisper.load(_folder(catalog, encoder or about["weights"], progress))
    if (fingerprint := checkpoint.fingerprint(whisper)) != about["fingerprint"]:
        raise AssetError(
            f"{source}: this connector was trained with {about['weights']} ({about['fingerprint']}), but another Whisper "
            f"was given ({fingerprint}). Name that one with --encoder."
        )
    tensors = to_published(connector, whisper, partial=partial)
    if about.get("window") != checkpoint.WINDOW:
        progress.note(
            "this connector was trained on clips at their own length; the reference code pads every clip to 30 s, and "
            "will give other answers than diva-bench."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    making = target.with_name(f".making-{target.name}")
    save_file(tensors, making, metadata={"format": "pt"})
    os.replace(making, target)
    return f"stored: {target} ({len(tensors)} tensors, float32, {disk.size(target.stat().st_size)})"


def _about(source: Path) -> dict[str, Any]:
    """The entry about the encoder in config.json."""
    config = disk.read_json(source / "config.json")
    about = config.get("encoder") if isinstance(config, dict) else None
    if not isinstance(about, dict) or not {"weights", "fingerprint"} <= about.keys():
        raise AssetError(
            f"{source / 'config.json'}: does not say which Whisper the connector was trained with (encoder: weights, "
            "fingerprint). Export it again."
        )
    return about


def _to_ours(source: Path, target: Path, encoder: str, llm: str, catalog: Catalog, progress: Terminal) -> str:
    """Write the folder, and return a message about it."""
    from diva_bench.decoding.whisper import Whisper
    from diva_bench.diva import checkpoint
    from diva_bench.diva.published import from_published

    whisper = Whisper.load(_folder(catalog, encoder, progress))
    connector = from_published(source, heads=whisper.config["decoder_attention_heads"])
    size, embeddings = connector.config, first_embeddings(_folder(catalog, llm, progress))
    for part, name, own, its in (
        ("encoder", encoder, size.width, whisper.config["d_model"]),
        ("LLM", llm, size.llm_width, embeddings.shape[1]),
    ):
        if own != its:
            raise AssetError(f"{source}: made for an {part} of width {own}, but {name} has {its}. Name the right one.")
    about = {
        "encoder": {
            "weights": encoder,
            "fingerprint": checkpoint.fingerprint(whisper),
            "window": checkpoint.WINDOW,  # the reference code pads every clip
        },
        "llm": {"weights": llm, "fingerprint": checkpoint.fingerprint(embeddings)},
    }
    checkpoint.save(connector, target, about, {"imported": str(source)}, bits=16)
    sizes = f"{size.max_queries} queries, {size.layers} layers, {size.width} -> {size.llm_width}"
    return f"stored: {target} ({sizes}, float16)"


def first_embeddings(folder: Path) -> Tensor:
    """The first 16 input embeddings of an LLM, (16, E), which its fingerprint needs. The LLM is not loaded if that is
    possible."""
    from diva_bench.decoding.tensors import contents, load

    files = contents(folder)
    if _EMBEDDINGS in files:
        return load(files, [_EMBEDDINGS], rows=16)[_EMBEDDINGS]
    from diva_bench.decoding.llm import LLM

    return LLM.load(folder).weight[:16]
