"""Files that went wrong in every way there is: a reader of text answers, or says in words what is wrong, and soon.

Each test changes a right file at random, always alike, for a count of times and no longer than a few seconds.
"""

from __future__ import annotations

import contextlib
import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import mini_task
import pytest

from diva_bench import data, predictions
from diva_bench.catalog import Catalog
from diva_bench.data.readers.forms import FORMS
from diva_bench.errors import UserError
from diva_bench.evaluation.importing import pairs
from diva_bench.predictions.match import match
from diva_bench.specs.spec_file import read_spec
from diva_bench.training import sources
from diva_bench.types import Silent

COUNT, SECONDS = 300, 3.0  # changes of a file; seconds of CPU for all of them, and the most for one
TRAPS = [
    *(b"\0 \xff \xfe\xff \xff\xfe \xef\xbb\xbf \r \n \r\n \t , ; | \" ' { } [ ] : # ! & * ? - % @ `".split(b" ")),
    *("\u2028 \u202e \x1b[2J \x85 é 日 😀 e\u0301".encode().split(b" ")),
    *rb"\ud83d \u0000 \x \n NaN Infinity -1 1e999 null true no ~ {} [] !!int !!binary !!set &a *a <<: --- ... 2024-13-45".split(),
    b"9" * 5000, b"[" * 1500, b'{"a":' * 1500, b"- " * 1500, b"{a: " * 1500, b"x" * 200_000, b'"id": "a", "id": 5',
]  # fmt: skip


def changed(content: bytes, chance: random.Random) -> bytes:
    """Content with one to four changes."""
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        a, b = sorted((chance.randrange(len(content) + 1), chance.randrange(len(content) + 1)))
        b = min(b, a + 40)
        content = chance.choice(
            (
                content[:a] + chance.choice(TRAPS) + content[a:],
                content[:a] + chance.choice(TRAPS) + content[b:],
                content[:a] + content[b:],
                content[:a],
                content[:a] + content[a:b] * 3 + content[b:],
                content[:a] + bytes([chance.randrange(256)]) + content[a + 1 :],
            )
        )
    return content


def fuzz(file: Path, read: Callable[[Path], object]) -> None:
    """Whatever stands in the file, reading ends well or in a UserError."""
    right, started, outcomes = file.read_bytes(), time.process_time(), {True: 0, False: 0}
    read(file)
    for seed in range(COUNT):
        if time.process_time() - started > SECONDS:
            break
        file.write_bytes(changed(right, random.Random(f"{file.name} {seed}")))
        began = time.process_time()
        try:
            read(file)
            outcomes[True] += 1
        except UserError:
            outcomes[False] += 1
        except BaseException as err:
            raise AssertionError(f"seed {seed} of {file.name}: {type(err).__name__}: {err}") from err
        assert time.process_time() - began < SECONDS, f"seed {seed} of {file.name} takes too long"
    assert min(outcomes.values()) > 0, f"only one way out: {outcomes}"


@pytest.fixture
def specs(tmp_path: Path) -> Path:
    return mini_task.write(tmp_path / "specs", count=4)


def test_task_yaml(specs: Path) -> None:
    def read(file: Path) -> None:
        read_spec(file)
        catalog = Catalog([specs])
        catalog.scorers(catalog.task("toy", "mini"))

    fuzz(specs / "toy.yaml", read)


def test_model_yaml(specs: Path) -> None:
    def read(file: Path) -> None:
        read_spec(file)
        catalog = Catalog([specs])
        model = catalog.model("m", "mini")
        catalog.adapter_for(model)(model, {}, "cpu")  # type: ignore[call-arg]
        assert len(model.hash) == 64

    mini_task.model(specs, "m", delay=0.5, fail_ids=["a"], reply="x", memory_rows=3)
    fuzz(specs / "m.yaml", read)


def test_weights_yaml(tmp_path: Path) -> None:
    file = tmp_path / "w.yaml"
    shipped = next((Path(__file__).parents[1] / "models" / "weights").glob("*.yaml"))
    file.write_bytes(shipped.read_bytes())
    fuzz(file, read_spec)


def test_task_rows(specs: Path, tmp_path: Path) -> None:
    task = Catalog([specs]).task("toy", "mini")

    def read(file: Path) -> None:
        data.load(task, tmp_path / "cache", Silent(), need_audio=False, allow_partial=True)

    fuzz(specs / "toy.jsonl", read)


def answers(specs: Path) -> Iterator[tuple[str, bytes]]:
    rows = [(row["id"], f"ans, wer {row['id']}") for row in mini_task.rows(4)]
    texts = [{"id": ident, "text": text, "status": "ok", "scores": {"given": 1.0}} for ident, text in rows]
    yield "a.jsonl", "".join(json.dumps(row) + "\n" for row in texts).encode()
    yield "a.csv", ("id,text\n" + "".join(f'{ident},"{text}"\n' for ident, text in rows)).encode()
    yield "a.tsv", ("id\ttext\tstatus\n" + "".join(f"{ident}\t{text}\tok\n" for ident, text in rows)).encode()
    logs = [
        {"doc_id": i, "doc": {"id": ident}, "target": "x", "resps": [[text]], "filter": "none"}
        for i, (ident, text) in enumerate(rows)
    ]
    yield "lm.jsonl", "".join(json.dumps(row) + "\n" for row in logs).encode()
    samples = [{"id": ident, "target": "x", "output": {"completion": text}} for ident, text in rows]
    yield (
        "inspect.json",
        json.dumps({"eval": {"task": "t", "model": "m"}, "status": "success", "samples": samples}, indent=1).encode(),
    )
    yield "diva.txt", "".join(f'{ident}[SEP_DIAL]"""{text}"""[SEP_DIAL]0.5\n' for ident, text in rows).encode()
    bench = [{"model_prediction": text, "answer": "x", "task_type": "t", "text": "t"} for _, text in rows]
    yield "bench.json", json.dumps(bench).encode()


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.tsv", "lm.jsonl", "inspect.json", "diva.txt", "bench.json"])
def test_answers_of_other_systems(name: str, specs: Path, tmp_path: Path) -> None:
    task = Catalog([specs]).task("toy", "mini")
    loaded = data.load(task, tmp_path / "cache", Silent(), need_audio=False)

    def read(file: Path) -> None:
        source = predictions.AnswerFile(file)
        _, rows = predictions.read([source], "auto", predictions.ReadOptions())
        found = match(task, loaded, rows, {})
        for response in found.responses:
            json.dumps(response.text, allow_nan=False).encode()

    file = tmp_path / name
    file.write_bytes(dict(answers(specs))[name])
    if name == "bench.json":  # matched by place, against references that these are not
        return fuzz(
            file, lambda path: predictions.read([predictions.AnswerFile(path)], "auto", predictions.ReadOptions())
        )
    return fuzz(file, read)


@pytest.mark.parametrize("name", ["train.tsv", "clips.jsonl"])
def test_training_data(name: str, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    file = tmp_path / name
    rows = [(f"{i}.mp3", f'Words "{i}", she said.', f"v{i}") for i in range(4)]
    if name == "train.tsv":
        file.write_text("path\tsentence\tclient_id\n" + "".join("\t".join(row) + "\n" for row in rows))
    else:
        file.write_text("".join(json.dumps({"audio": a, "text": t, "voice": v}) + "\n" for a, t, v in rows))
    fuzz(file, lambda path: list(sources.read(str(path))))


def test_options_of_pairs() -> None:
    chance = random.Random(0)
    for _ in range(COUNT):
        text = changed(b"id=my id,text=a=b", chance).decode("utf-8", "surrogateescape")
        with contextlib.suppress(UserError):
            pairs(text, "--columns", ("id", "text"))


CUT = '{"id": "%s", "start": 0, "duration": 1.0, "channel": 0, "supervisions": [{"id": "s", "text": "a b", "speaker": "x"}], '
CUT += '"recording": {"id": "r", "sources": [{"type": "file", "channels": [0], "source": "%s.wav"}], "sampling_rate": 16000}}'
LISTINGS = {  # form -> its files, each of which is changed in its turn
    "csv": {"a.csv": 'audio,text,id\na.wav,"one, two",a\nb.wav,three,b\n'},
    "jsonl": {"a.jsonl": '{"audio": "a.wav", "text": "one"}\n{"audio": "b.wav", "text": "two"}\n'},
    "audiofolder": {"metadata.csv": "file_name,text\na.wav,one\nb.wav,two\n"},
    "kaldi": {
        "wav.scp": "r1 a.wav\nr2 b.wav\n",
        "segments": "u1 r1 0.0 0.5\nu2 r2 0.5 1.0\n",
        "text": "u1 one two\nu2 three\n",
        "utt2spk": "u1 s1\nu2 s2\n",
    },
    "nemo": {"a.json": '{"audio_filepath": "a.wav", "text": "one", "duration": 1.0}\n' * 2},
    "lhotse": {"cuts.jsonl": "".join(CUT % (name, name) + "\n" for name in "ab")},
}


@pytest.mark.parametrize(("form", "name"), [(form, name) for form, files in LISTINGS.items() for name in files])
def test_listings_of_data_of_one_s_own(form: str, name: str, tmp_path: Path) -> None:
    for other, content in LISTINGS[form].items():
        (tmp_path / other).write_text(content)
    root = tmp_path if form in ("audiofolder", "kaldi") else tmp_path / name
    for clip in "ab":
        mini_task.clip(tmp_path / f"{clip}.wav", 1.2)

    def read(_: Path) -> None:
        for row in FORMS[form].rows(root, None, FORMS[form].audio):
            if row.sound is not None:
                row.sound.clip()

    fuzz(tmp_path / name, read)
