"""`hear`: print the transcripts and answers of models for clips without references."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import cast

from diva_bench.catalog import Catalog
from diva_bench.cli.progress import Terminal
from diva_bench.cli.show import print_table
from diva_bench.cli.streams import check_file, say, write_file
from diva_bench.errors import UserError
from diva_bench.evaluation import hear
from diva_bench.evaluation.editions import of_model
from diva_bench.evaluation.jobs import Settings, with_settings
from diva_bench.specs import CODE, Edition, ModelSpec
from diva_bench.types import ENGLISH


def hear_command(
    models: Sequence[str],
    places: Sequence[Path],
    settings: Settings,
    *,
    record: float | None = None,
    prompt: str = "",
    system: str | None = None,
    language: str = ENGLISH,
    max_new_tokens: int = 64,
    csv: Path | None = None,
    format: str = "rich",
    paths: Sequence[Path] = (),
) -> int:
    """Exit code: 0 every clip is answered; 1 some are not, and the output says why.

    Args:
        places: Audio files, and folders of them.
        record: Seconds to record from the microphone.
        language: Code of the language of the clips.
    """
    if not places and record is None:
        raise UserError("no clip is named. Give audio files or folders, or record one with --record 5.")
    if not CODE.fullmatch(language):
        raise UserError(f"--language is {language!r}; it must be the code of a language, such as fr or zh-CN.")
    check_file(csv, "--csv")
    progress, catalog = Terminal(), Catalog(paths)
    specs = _specs(catalog, models, settings, progress)
    clips = hear.files(places)
    if record is not None:
        name = Path(f"recorded-{datetime.now().astimezone():%Y%m%d-%H%M%S}.wav")
        clips.append(hear.record(record, name, progress))
    requests, faults = hear.requests(clips, prompt, system, max_new_tokens, language)
    catalog.fetch(specs, progress)
    replies: list[hear.Reply] = []
    for model in specs:
        if requests:
            adapter = catalog.load(model, progress)
            try:
                replies += hear.replies(adapter, model.name, requests, faults, progress)
            finally:
                adapter.close()
        else:
            replies += [hear.Reply(fault.id, model.name, 0.0, None, fault) for fault in faults]
    table = hear.table(clips, replies, prompt)
    if format == "rich":
        _print_blocks(clips, replies, prompt)
    else:
        print_table(table, format)
    if csv is not None:
        write_file(csv, table.to_csv(), "--csv")
        progress.note(f"written: {csv}")
    return 1 if any(reply.response.status != "ok" for reply in replies) else 0


def _specs(catalog: Catalog, models: Sequence[str], settings: Settings, progress: Terminal) -> list[ModelSpec]:
    """The specs of models that take audio; nothing is downloaded or loaded."""
    edition = cast(Edition | None, settings.model_edition)
    specs = []
    for name in dict.fromkeys(models):
        selection = of_model(catalog, name, "full", edition, progress, fetch=edition == "full")
        spec = with_settings(catalog.model(name, selection), settings)
        hear.check_takes_audio(spec.name, catalog.adapter_for(spec).accepts)
        specs.append(spec)
    return specs


def _lines(reply: hear.Reply) -> list[tuple[str, str]]:
    """(label, text) of one reply."""
    response = reply.response
    if response.status != "ok":
        return [("not answered", response.detail or response.status)]
    transcript = [] if response.heard is None else [("transcript", response.heard or "(no words)")]
    remarks = [("remark", remark) for remark in reply.remarks]
    return [*transcript, ("answer", response.text or "(empty)"), *remarks]


def _print_blocks(clips: Sequence[Path], replies: Sequence[hear.Reply], prompt: str) -> None:
    """For a terminal: one block per clip, in the order of the clips, with the models below each other."""
    from rich.console import Console
    from rich.text import Text

    from diva_bench.printable import visible

    console = Console(highlight=False, markup=False)
    say(f"prompt: {prompt}" if prompt else "prompt: none; the model gets only the clip")
    for path in clips:
        mine = [reply for reply in replies if reply.clip == str(path)]
        length = max(reply.seconds for reply in mine)
        say()
        say(f"{path}" + (f", {length:.1f} s" if length else ""))
        for reply in mine:
            took = "" if reply.took is None else f" ({reply.took:.2f} s)"
            say(f"  {reply.model}{took}")
            for name, text in _lines(reply):
                whole = Text(visible(f"{name}: {' '.join(text.split())}"))
                for line in whole.wrap(console, max(20, console.width - 4)):
                    say(f"    {line.plain.rstrip()}")
