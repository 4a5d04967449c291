"""`probe`: evaluate how close virtual tokens are to the words of a clip, and whether a model can repeat the words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from diva_bench.catalog import Catalog, training_record
from diva_bench.cli.progress import Terminal
from diva_bench.cli.show import print_table
from diva_bench.cli.streams import check_file, say, write_file
from diva_bench.diva.checkpoint import WINDOW
from diva_bench.diva.config import PRESETS, TrainConfig
from diva_bench.errors import DataError, UserError
from diva_bench.evaluation.jobs import Settings
from diva_bench.report.ablation import SIGN, SURE
from diva_bench.specs import Edition, ModelSpec, Runtime
from diva_bench.stats import FEW_CLUSTERS, FEW_NOTE, P_NOTE, holm
from diva_bench.tables import Cell, Column, Score, Table
from diva_bench.types import Row
from diva_bench.weights import assets

_TOKENS = ("nearest", "read_wer", "align", "distill", "kl", "first_token")


def connector_eval_command(
    models: Sequence[str],
    sources: Sequence[str],
    settings: Settings,
    repeat: bool,
    target: Path | None,
    format: str,
    paths: Sequence[Path] = (),
) -> int:
    """Exit code: 0 all clips are answered; 1 some failed, and were counted."""
    from diva_bench.training import connector_eval, evaluate

    if settings.dtype == "float16":
        raise UserError("--dtype float16: `probe` runs in bfloat16 or float32, as training does.")
    check_file(target, "--output")
    catalog, progress = Catalog(paths), Terminal()
    specs = [_with_dtype(catalog.model(m, cast(Edition, settings.edition)), settings) for m in dict.fromkeys(models)]
    catalog.fetch(specs, progress)
    clips_read, skipped = connector_eval.clips(sources, max_seconds=30.0)
    clips_read = clips_read[: settings.limit]
    ids = {clip.sample.id for clip in clips_read}
    record: dict[str, Any] = {
        "clips": len(clips_read),
        "skipped": skipped,
        "prompt": connector_eval.PROMPT,
        "models": {},
    }
    failed = 0
    base: tuple[list[Row], list[connector_eval.EvalClip]] | None = None
    for model in specs:
        entry: dict[str, Any] = {"dtype": model.runtime.dtype, "edition": model.edition}
        if repeat:
            entry |= _repeat(catalog, model, clips_read, progress)
            failed += entry["failed"]
        if model.adapter == "diva":
            try:
                rows, clips, more = _rows(model, catalog.fetch([model], progress), sources, ids, progress)
            except DataError as err:  # the data was readable before, so no transcript fits the virtual tokens
                rows, clips, more = [], [], {"skipped": str(err)}
            entry |= {"tokens": connector_eval.estimates(rows, clips, evaluate.reduce), **more}
            if not rows:
                progress.note(
                    f"{model.name}: none of the {len(clips_read)} transcripts fits its virtual tokens, so these are not "
                    f"evaluated; give clips of fewer words (skipped: {more['skipped'] or 'none'})"
                )
                failed += 0 if repeat else 1
            base = base or ((rows, clips) if rows else None)
            if (
                base
                and rows is not base[0]
                and (apart := connector_eval.differences((rows, clips), base, evaluate.reduce))
            ):
                entry["differences"] = apart
        record["models"][model.name] = entry
        if target:  # after every model, because the process may be killed at the next one
            write_file(target, json.dumps(record, indent=1) + "\n", "--output")
    print_table(_table(record), format)
    if any("differences" in entry for entry in record["models"].values()):
        say()
        print_table(_differences(record), format)
    return 1 if failed else 0


def _with_dtype(model: ModelSpec, settings: Settings) -> ModelSpec:
    changes = {k: v for k, v in (("dtype", settings.dtype), ("device", settings.device)) if v is not None}
    return model.model_copy(update={"runtime": Runtime(**{**model.runtime.model_dump(), **changes})})


def _repeat(catalog: Catalog, model: ModelSpec, clips: Sequence[Any], progress: Terminal) -> dict[str, Any]:
    """Word error rates of one model."""
    from diva_bench.training import connector_eval

    adapter, scorer = catalog.load(model, progress), connector_eval.scorer()
    rows, failed = connector_eval.repeat(adapter, scorer, clips, progress, model.name)
    adapter.close()
    return {
        "wer": connector_eval.estimates(rows, clips, scorer.reduce),
        "failed": failed,
        "signature": scorer.signature,
    }


def _rows(
    model: ModelSpec, folders: dict[str, Path], sources: Sequence[str], ids: set[str], progress: Terminal
) -> tuple[list[Row], list[Any], dict[str, Any]]:
    """Statistics of tokens and distributions of the clips with these ids, computed by the code of training with its caches
    (all clips are held out); also the scores of a constant answer, and the skipped clips."""
    from diva_bench.diva import checkpoint
    from diva_bench.training import connector_eval, evaluate
    from diva_bench.training.run import prepare_training

    folder = folders[model.weights["connector"].name]
    connector = checkpoint.load(folder)
    size = connector.config
    config = replace(
        _config(folder, model), held_out=1, max_seconds=30.0, queries=size.queries, max_queries=size.max_queries,
        stride=size.stride, alignment=size.alignment,
        dtype="float32" if model.runtime.dtype == "float32" else "bfloat16",
        cache_states=not (folder / checkpoint.ENCODER).exists(),  # a trained encoder has other states than those in the cache
    )  # fmt: skip
    cache = assets.cache_folder() / "training"
    run = prepare_training(
        config, whisper_dir=folders[model.weights["encoder"].name], llm_dir=folders[model.weights["llm"].name],
        sources=sources, output=cache, cache=cache, progress=progress,
    )  # fmt: skip
    checkpoint.load_encoder(folder, run.whisper)
    clips = connector_eval.transcribed(run)
    selection = [i for i, clip in enumerate(clips) if clip.sample.id in ids]
    rows = evaluate.clip_rows(run, connector.to(run.device), selection)
    more = {
        "alignment": size.alignment,
        "constant": evaluate.constant_scores(run, selection) if selection else {},
        "skipped": run.clips.skipped,
    }
    return list(rows), [clips[i] for i in selection], more


def _config(folder: Path, model: ModelSpec) -> TrainConfig:
    """The settings of the training by config.json: which tokens were aligned, and the window."""
    about = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    # an older config.json does not have these settings; training.json does
    trained = training_record(folder).get("config", {})
    settings = dict(about.get("alignment") or {k: trained[k] for k in ("aligned", "shift") if k in trained})
    settings["window_seconds"] = 30.0 if about["encoder"].get("window") == WINDOW else None
    return replace(
        PRESETS["nano"](),
        encoder=model.weights["encoder"].name,
        llm=model.weights["llm"].name,
        **settings,
    )


def _table(record: dict[str, Any]) -> Table:
    """One row per model and group of clips."""
    rows: list[list[Cell]] = []
    measured = [m for m in _TOKENS if any(m in _whole(entry) for entry in record["models"].values()) or m != "read_wer"]
    for name, entry in record["models"].items():
        for group in entry.get("wer") or entry.get("tokens", {}):
            wer, tokens = (entry.get(part, {}).get(group, {}) for part in ("wer", "tokens"))
            numbers = [wer.get("wer"), *map(tokens.get, measured)]
            rows.append([name, group, next(int(number["n"]) for number in numbers if number), *map(_cell, numbers)])
    columns = [
        Column("model"),
        Column("clips"),
        Column("n"),
        Column("wer"),
        *_columns(measured, ("align", "distill", "kl")),
    ]
    notes = [
        f"wer: word error rate, %, of the answer to: {record['prompt']} Lower is better.",
        "nearest: % of virtual tokens nearest to the transcript's token they were aligned with; align: distance to it",
        "for connectors aligned by ctc: nearest is 100 - token error rate of the decoded text, read wer is its word error "
        "rate, %; align: nats per token",
        "distill: distance of the last hidden states; kl: nats; first token: % of answers with the same first token as for the "
        "transcript",
        "95 % intervals: cluster bootstrap, 10000 resamples, one cluster per text",
    ]
    constants = {tuple(entry["constant"].items()) for entry in record["models"].values() if entry.get("constant")}
    for constant in sorted(constants):
        constants_text = ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in constant)
        notes.append(f"a connector with the same output for every clip: {constants_text}")
    failed = {name: entry["failed"] for name, entry in record["models"].items() if entry.get("failed")}
    notes += [f"failed, left out: {failed}"] if failed else []
    return Table(
        f"connector evaluation, {record['clips']} clips; skipped: {record['skipped'] or 'none'}", columns, rows, notes
    )


def _differences(record: dict[str, Any]) -> Table:
    """The difference of every connector to the first one, paired by clip."""
    first = next(name for name, entry in record["models"].items() if entry.get("tokens"))
    selection = {name: entry["differences"] for name, entry in record["models"].items() if "differences" in entry}
    kinds = {entry["alignment"] for entry in record["models"].values() if entry.get("tokens")}
    unlike = ("nearest", "align") if len(kinds) > 1 else ()  # depend on the alignment loss
    tokens = [m for m in _TOKENS if m not in unlike and all(m in entry for entry in selection.values())]
    adjusted = iter(holm([entry[m]["p"] for entry in selection.values() for m in tokens]))
    rows: list[list[Cell]] = []
    for name, entry in selection.items():
        marks = [SIGN if next(adjusted) < SURE else "" for _ in tokens]
        cells = [
            Score(entry[m]["value"], entry[m]["low"], entry[m]["high"], mark)
            for m, mark in zip(tokens, marks, strict=True)
        ]
        rows.append([name, entry["kl"]["n"], *cells])
    columns = [Column("model"), Column("n"), *_columns(tokens, ("align", "distill"))]
    family = len(selection) * len(tokens)
    return Table(
        f"difference to {first}, paired by clip",
        columns,
        rows,
        [
            f"{SIGN}p below {SURE} after Holm over {family} comparisons; {P_NOTE}",
            *([FEW_NOTE] if any(entry["kl"]["clusters"] < FEW_CLUSTERS for entry in selection.values()) else []),
        ],
    )


def _whole(entry: dict[str, Any]) -> dict[str, Any]:
    """A model's token statistics over all clips."""
    return cast(dict[str, Any], entry.get("tokens", {}).get("all", {}))


def _columns(metrics: Sequence[str], optional: Sequence[str]) -> list[Column]:
    """One column for each metric; those in `optional` are left out first in a narrow terminal."""
    percent = ("nearest", "read_wer", "first_token")
    return [Column(m.replace("_", " "), m in optional, digits=1 if m in percent else 2) for m in metrics]


def _cell(number: dict[str, float] | None) -> Cell:
    return Score(number["value"], number["low"], number["high"]) if number else None
