"""What all harnesses are given: clips as WAV files, the weights in float32, and one task for each number of clips.

WORK/wav/NAME.wav          the clips of covost2 mini, 16 kHz, 16 bit
WORK/whisper/              Whisper tiny.en as `diva-bench pull` prepared it, with float32 as its format
WORK/16/, WORK/48/         clips.jsonl, and tasks and models of diva-bench
WORK/plugin/               makes `ours_side` an adapter of diva-bench, and `inspect_side` a plugin of inspect_ai
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import soundfile

from diva_bench import audio
from diva_bench.catalog import Catalog
from diva_bench.specs.spec_file import builtin_folder
from diva_bench.types import Silent

SOURCE = builtin_folder() / "tasks/mini-v1"
TASK = """\
name: {name}
version: 1
description: {name}, on the clips of covost2 mini.
prompt: {prompt}
reference: {reference}
scorers: {scorers}
primary: {primary}
editions:
  mini: {{source: jsonl, speech: synthetic, path: clips.jsonl, rows: {rows}}}
"""
TRANSLATE = "Translate what the user says from English to German. Answer with the German translation only."
FAILING = """\
name: failing
adapter: failing-asr
description: Whisper tiny.en, which can be made to fail; four clips in a batch.
weights: {asr: whisper-tiny.en}
runtime: {dtype: float32, batch_rows: 4}
"""


def weights(role: str, model: str, edition: str) -> Path:
    """The folder of prepared weights; they are downloaded where they are missing."""
    catalog = Catalog()
    spec = catalog.model(model, edition)  # type: ignore[arg-type]
    return catalog.fetch([spec], Silent())[spec.weights[role].name]


def prepare(work: Path, sizes: tuple[int, ...]) -> None:
    rows = [json.loads(line) for line in (SOURCE / "covost2.jsonl").read_text(encoding="utf-8").splitlines()]
    sounds = work / "wav"
    sounds.mkdir(parents=True, exist_ok=True)
    for row in rows:
        clip = audio.decode((SOURCE / row["audio"]).read_bytes())
        row["audio"] = str((sounds / f"{row['id']}.wav").resolve())
        soundfile.write(row["audio"], clip.samples, clip.rate, subtype="PCM_16")
    for size in sizes:
        folder = work / str(size)
        folder.mkdir(exist_ok=True)
        kept = [{key: row[key] for key in ("id", "audio", "text", "de", "cluster")} for row in rows[:size]]
        (folder / "clips.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept))
        count = len(kept)
        (folder / "asr.yaml").write_text(
            TASK.format(name="asr", prompt="Write down what is said.", reference="text", scorers="{wer: {}}",
                        primary="wer", rows=count)
        )  # fmt: skip
        (folder / "translate.yaml").write_text(
            TASK.format(name="translate", prompt=TRANSLATE, reference="de", scorers="{chrf: {}}", primary="chrf2",
                        rows=count) + "decode: {max_new_tokens: 32}\n"
        )  # fmt: skip
        (folder / "failing.yaml").write_text(FAILING)
    [spelling] = (work / "lmms-eval").glob(
        "lib/*/site-packages/lmms_eval/tasks/librispeech/whisper_normalizer/english.json"
    )
    _float32(weights("asr", "whisper", "nano"), spelling, work / "whisper")
    plugin = work / "plugin" / "peers-0.dist-info"
    plugin.mkdir(parents=True, exist_ok=True)
    (plugin / "METADATA").write_text("Metadata-Version: 2.1\nName: peers\nVersion: 0\n")
    (plugin / "entry_points.txt").write_text(
        "[diva_bench.adapters]\nfailing-asr = ours_side:FailingAsr\n\n[inspect_ai]\npeers = inspect_side\n"
    )


def _float32(source: Path, spelling: Path, target: Path) -> None:
    """The same weights as the peers take them: in float32, where their own configuration asks for float16; with the class
    of their tokenizer and its table of spellings, as on the Hub, without which lmms-eval cannot write an answer."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for path in source.iterdir():
        (target / path.name).symlink_to(path.resolve())
    (target / "normalizer.json").symlink_to(spelling.resolve())
    for name, change in {
        "config.json": {"dtype": "float32"},
        "tokenizer_config.json": {"tokenizer_class": "WhisperTokenizer"},
        "preprocessor_config.json": {"processor_class": "WhisperProcessor"},
    }.items():
        settings = json.loads((source / name).read_text(encoding="utf-8"))
        (target / name).unlink()
        (target / name).write_text(json.dumps({**settings, **change}, indent=2))
