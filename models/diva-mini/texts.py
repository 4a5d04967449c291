"""Texts to speak and train on, from public sources, one text a line.

    apt install wordnet-base                       # example phrases of WordNet 3.0, Princeton's own permissive licence
    python models/diva-mini/texts.py OUT.txt --wordnet /usr/share/wordnet

    curl -LO https://raw.githubusercontent.com/brmson/dataset-factoid-webquestions/master/main/trainmodel.json  # CC BY 4.0
    python models/diva-mini/texts.py OUT.txt --wordnet /usr/share/wordnet --questions trainmodel.json

A text of WordNet is an example phrase of a synset that is a sentence or a part of one. It has 2 to 28 words, letters and
the usual punctuation only, and stands once. Left out are texts whose words stand in an evaluation task: the mini tasks
beside this repository's `tasks/`, and those of files given by --without (one text a line, or jsonl with a column
`transcript`, `text` or `sentence`). The order is random, by --seed, so that the first N lines are a sample.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

TASKS = Path(__file__).resolve().parents[2] / "tasks"
COLUMNS = ("text", "transcript", "sentence")
WORDS = (2, 28)
_SPEAKABLE = re.compile(r"[A-Za-z][A-Za-z ,.'?!;:-]*")
_EXAMPLE = re.compile(r'"([^"]+)"')


def wordnet(folder: Path) -> Iterator[str]:
    """Example phrases: what stands in double quotes behind the bar of a line of data.noun and its like."""
    for part in ("noun", "verb", "adj", "adv"):
        with (folder / f"data.{part}").open(encoding="latin-1") as lines:
            for line in lines:
                _, bar, gloss = line.partition("|")
                if bar and not line.startswith("  "):  # a licence stands at the head
                    yield from _EXAMPLE.findall(gloss)


def questions(path: Path) -> Iterator[str]:
    """The questions of WebQuestions, with a capital and a question mark."""
    for row in json.loads(path.read_text(encoding="utf-8")):
        text = str(row.get("qText") or row.get("utterance") or row.get("question") or "").strip()
        if text:
            yield text if text.endswith("?") else f"{text}?"


def words_of(text: str) -> str:
    """What two texts share that differ in case and punctuation alone."""
    return " ".join(re.findall(r"[a-z0-9']+", text.lower()))


def tidy(text: str) -> str | None:
    """The text with a capital and an end; None where it cannot be spoken as it is written, or has too few words or many."""
    one = " ".join(text.replace("`", "'").split()).strip(" ,;:-")
    if not _SPEAKABLE.fullmatch(one) or not WORDS[0] <= len(one.split()) <= WORDS[1]:
        return None
    one = one[0].upper() + one[1:]
    return one if one[-1] in ".?!" else f"{one}."


def evaluated(paths: Iterable[Path]) -> set[str]:
    """Words of the texts of evaluation files."""
    found: set[str] = set()
    for path in paths:
        for line in path.read_text(encoding="utf-8").splitlines():
            if path.suffix == ".jsonl":
                row = json.loads(line) if line.strip() else {}
                found |= {words_of(str(row[name])) for name in COLUMNS if row.get(name)}
            else:
                found.add(words_of(line))
    return found - {""}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--wordnet", type=Path, help="folder with data.noun, data.verb, data.adj and data.adv")
    parser.add_argument("--questions", type=Path, action="append", default=[], help="a JSON list of questions")
    parser.add_argument("--without", type=Path, action="append", default=[], help="texts to leave out")
    parser.add_argument("--limit", type=int, help="write at most so many texts")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if not args.wordnet and not args.questions:
        parser.error("no source is named: give --wordnet FOLDER, --questions FILE, or both.")
    if args.wordnet and not (args.wordnet / "data.noun").is_file():
        parser.error(
            f"--wordnet {args.wordnet}: has no data.noun; apt install wordnet-base puts it in /usr/share/wordnet."
        )
    for path in (*args.questions, *args.without):
        if not path.is_file():
            parser.error(f"{path}: is not a file.")
    raw = [*(wordnet(args.wordnet) if args.wordnet else ()), *(q for path in args.questions for q in questions(path))]
    barred = evaluated([*sorted(TASKS.glob("mini*/*.jsonl")), *args.without])
    kept: dict[str, str] = {}
    unspeakable = leaks = 0
    for text in raw:
        one = tidy(text)
        if one is None:
            unspeakable += 1
        elif words_of(one) in barred:
            leaks += 1
        else:
            kept.setdefault(words_of(one), one)
    texts = sorted(kept.values())
    random.Random(args.seed).shuffle(texts)
    texts = texts[: args.limit]
    args.output.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    print(
        f"{args.output}: {len(texts)} texts of {len(raw)}; {unspeakable} cannot be spoken as written, {leaks} stand in tasks"
    )


if __name__ == "__main__":
    main()
