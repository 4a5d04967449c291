"""Reader of IEMOCAP as published: the folder IEMOCAP_full_release.

    Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav Session1/dialog/transcriptions/Ses01F_impro01.txt
    Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me. Session1/dialog/EmoEvaluation/Ses01F_impro01.txt     [6.2901 -
    8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]

In EmoEvaluation such a line has the majority label; the lines of single evaluators after it (beginning with C- or A-)
are not read. The 4-class convention counts exc (excited) as hap. `emotion` is the published label; `label` and
`paper_label` are the words of the tasks, "" for other emotions. An id has session (01), the actor with motion-capture
markers (F), dialogue, and speaker (F or M): `Ses01F_impro01_M000` is spoken by the man of session 1.

Columns: id, text, emotion, label, paper_label, session, dialogue, speaker, gender, setting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from diva_bench.data.readers import Raw
from diva_bench.data.readers.corpus import Clips, find
from diva_bench.disk import listed
from diva_bench.errors import DataError
from diva_bench.specs import TaskSpec
from diva_bench.textfile import lines

SESSIONS = ("1", "2", "3", "4", "5")
EMOTIONS = ("ang", "dis", "exc", "fea", "fru", "hap", "neu", "oth", "sad", "sur", "xxx")
"""Labels of the evaluators' majority; xxx: they had none."""
_WORDS = {  # label, and the word in the code of the DiVA paper (which scored its first token)
    "ang": ("angry", "Anger"),
    "exc": ("happy", "Happiness"),
    "hap": ("happy", "Happiness"),
    "neu": ("neutral", "Neutral"),
    "sad": ("sad", "Sadness"),
}
_TURN = re.compile(r"^\[\d[\d.]* - \d[\d.]*\]\t(?P<id>\S+)\t(?P<emotion>\S+)\t\[")
_UTTERANCE = re.compile(r"^(?P<id>Ses\w+)\s*(?:\[[^\]]*\])?\s*:\s*(?P<text>.*\S)")
_ID = re.compile(r"^(?P<dialogue>Ses0(?P<session>[1-5])[FM]_(?P<setting>impro|script)\w*)_(?P<gender>[FM])\d{3}$")


def read(folder: Path, task: TaskSpec) -> Iterator[Raw]:
    """One row for every evaluated utterance: by session, then by dialogue name, then in the order of the file."""
    there = [session for session in SESSIONS if (folder / f"Session{session}").is_dir()]
    if not there:
        raise DataError(f"{folder}: has none of the folders Session1 to Session5; this is not IEMOCAP_full_release.")
    clips = find(folder, lambda path: "sentences" in path.parts and "wav" in path.parts)
    for session in there:
        dialog = folder / f"Session{session}" / "dialog"
        sheets = _sheets(dialog / "EmoEvaluation")
        if not sheets:
            raise DataError(
                f"{dialog / 'EmoEvaluation'}: has no Ses*.txt; the labels of session {session} are not there."
            )
        for sheet in sheets:
            yield from _dialogue(sheet, dialog / "transcriptions" / sheet.name, clips)


def _sheets(folder: Path) -> list[Path]:
    return [path for path in listed(folder, "Ses*.txt") if path.is_file()]


def _dialogue(sheet: Path, script: Path, clips: Clips) -> Iterator[Raw]:
    transcripts = {m["id"]: m["text"] for m in (_UTTERANCE.match(line) for _, line in lines(script)) if m}
    turns = 0
    for number, line in lines(sheet):
        turn = _TURN.match(line)
        if turn is None:
            continue
        turns += 1
        where, ident, emotion = f"{sheet}:{number}", turn["id"], turn["emotion"]
        parts = _ID.match(ident)
        if parts is None or parts["dialogue"] != sheet.stem:
            raise DataError(f"{where}: {ident!r} is not an utterance of dialogue {sheet.stem}.")
        if emotion not in EMOTIONS:
            raise DataError(f"{where}: the emotion is {emotion!r}; the owners use {', '.join(EMOTIONS)}.")
        label, paper = _WORDS.get(emotion, ("", ""))
        values = {
            "id": ident,
            "text": transcripts.get(ident, ""),
            "emotion": emotion,
            "label": label,
            "paper_label": paper,
            "session": parts["session"],
            "dialogue": parts["dialogue"],
            "speaker": f"{ident[:5]}{parts['gender']}",
            "gender": "female" if parts["gender"] == "F" else "male",
            "setting": "improvised" if parts["setting"] == "impro" else "scripted",
        }
        wav = PurePosixPath(f"Session{parts['session']}", "sentences", "wav", sheet.stem, f"{ident}.wav")
        yield Raw(where, values, clips.of(ident, str(wav)))
    if not turns:
        raise DataError(f"{sheet}: has no line of the form [start - end] TAB utterance TAB emotion TAB [V, A, D].")
