"""Files of other systems' answers: every format as its harness writes it, and every way a file can be wrong."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import scoring

from diva_bench import predictions
from diva_bench.data import Dataset, Fault
from diva_bench.errors import PredictionError, UnknownName
from diva_bench.predictions import FORMATS, Options, Prediction, Source, read
from diva_bench.predictions.match import Matched, match
from diva_bench.types import LabelScore, Sample

RELEASED = Path(__file__).parents[2] / "shared" / "data" / "diva-eval"
GOOD = {
    "jsonl": '{"id": "a", "text": "one"}\n{"id": 7, "text": ""}\n',
    "csv": 'id,answer\na,"one, or\ntwo"\n7,\n',
    "diva-eval": '57096c9[SEP_DIAL]"""It is "VideoGuard"."""[SEP_DIAL]0.72\n571[SEP_DIAL]"""a[NEW_LINE]b"""[SEP_DIAL]0.5\n',
    "lmms-eval": '{"doc_id": 0, "target": "x", "filtered_resps": ["one"], "doc_hash": "f", "input": "Say."}\n',
    "lm-eval": '{"doc_id": 0, "doc": {"q": "?"}, "target": "x", "arguments": {"gen_args_0": {"arg_0": "Say."}}, '
    '"resps": [["one two"]], "filtered_resps": ["one"], "filter": "none", "metrics": ["acc"], "acc": 1.0}\n',
    "voicebench": '{"prompt": "who?", "reference": "x", "response": "one"}\n',
    "audiobench": '[{"text": "Say.", "answer": "x", "task_type": "SQA", "model_prediction": "one"}]',
}


def source(tmp_path: Path, content: str | bytes, name: str = "answers") -> Source:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return Source(path)


def rows(tmp_path: Path, content: str | bytes, format: str = "auto", **options: Any) -> list[Prediction]:
    return read([source(tmp_path, content)], format, Options(**options))[1]


def said(predictions: list[Prediction]) -> list[tuple[str | None, int | None, str]]:
    return [(p.id, p.row, p.text) for p in predictions]


def inspect_sample(ident: Any, text: Any = "one", **changes: Any) -> dict[str, Any]:
    message = {"content": text, "role": "assistant"}
    output = {"model": "m", "choices": [{"message": message, "stop_reason": "stop"}], "completion": text}
    return {"id": ident, "epoch": 1, "input": "Say.", "target": " x", "output": output, "scores": {}} | changes


def inspect_json(*samples: dict[str, Any], indent: int | None = 2) -> str:
    return json.dumps(
        {"version": 2, "status": "success", "eval": {"task": "t"}, "samples": list(samples)}, indent=indent
    )


def inspect_eval(*samples: dict[str, Any], **members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("_journal/start.json", json.dumps({"version": 2, "eval": {"task": "t"}}))
        for i, sample in enumerate(samples):
            archive.writestr(f"samples/{sample['id']}_epoch_{sample['epoch']}.json", json.dumps(sample), i % 2 * 8)
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


# ---------------------------------------------------------------- what each format says


@pytest.mark.parametrize("format", GOOD)
def test_the_content_tells_the_format(tmp_path: Path, format: str) -> None:
    assert read([source(tmp_path, GOOD[format])], "auto", Options())[0] == format


def test_every_format_that_can_be_named_is_tested_here() -> None:
    assert {*GOOD, "inspect"} == set(FORMATS)


@pytest.mark.parametrize(
    ("format", "expected"),
    [
        ("jsonl", [("a", None, "one"), ("7", None, "")]),
        ("csv", [("a", None, "one, or\ntwo"), ("7", None, "")]),
        ("diva-eval", [("57096c9", None, 'It is "VideoGuard".'), ("571", None, "a\nb")]),
        ("lmms-eval", [(None, 0, "one")]),
        ("lm-eval", [(None, 0, "one two")]),
        ("voicebench", [(None, 0, "one")]),
        ("audiobench", [(None, 0, "one")]),
    ],
)
def test_ids_rows_and_answers_are_read(
    tmp_path: Path, format: str, expected: list[tuple[str | None, int | None, str]]
) -> None:
    assert said(rows(tmp_path, GOOD[format])) == expected


def test_our_own_responses_are_read_with_all_they_have(tmp_path: Path) -> None:
    lines = [
        {"id": "a", "status": "error", "text": "", "detail": "lost"},
        {"id": "b", "status": "ok", "text": "yes", "choices": {"yes": [-1.0, 1, -1.0], "no": [-2.0, 1, -2.0]}},
        {"id": "a", "status": "ok", "text": "no", "label": "no", "scores": {"given": 1}},
        {"id": "c", "status": "unsupported", "text": "", "detail": "too long"},
    ]
    b, a, c = rows(tmp_path, "".join(json.dumps(line) + "\n" for line in lines))
    assert (a.id, a.status, a.label, a.given) == ("a", "ok", "no", 1.0)
    assert b.choices is not None
    assert b.choices["no"].total == -2
    assert (c.status, c.detail) == ("unsupported", "too long")


def test_a_label_that_may_be_the_right_answer_is_not_taken_for_what_was_said(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, '{"id": "a", "text": "no idea", "label": "joy"}')
    assert row.label is None
    (row,) = rows(tmp_path, "id,text,label\na,no idea,joy\n")
    assert row.label is None


def test_csv_may_have_a_status(tmp_path: Path) -> None:
    assert [p.status for p in rows(tmp_path, "id,text,status\na,x,\nb,,error\n")] == ["ok", "error"]
    with pytest.raises(PredictionError, match=r"answers:2: status is 'lost'. Allowed: ok, unsupported, error"):
        rows(tmp_path, "id,text,status\na,x,lost\n")


def test_a_line_separator_of_unicode_within_an_answer_is_no_end_of_line(tmp_path: Path) -> None:
    assert said(rows(tmp_path, '{"id": "a", "text": "x\u2028y\x85z"}\n')) == [("a", None, "x\u2028y\x85z")]


def test_columns_by_other_names_and_a_score_are_read(tmp_path: Path) -> None:
    table = "qid\tsaid\tp\nq1\tone\t0.5\nq2\ttwo\tNA\n"
    found = rows(tmp_path, table, columns={"id": "qid", "text": "said", "score": "p"})
    assert [(p.id, p.text, p.given) for p in found] == [("q1", "one", 0.5), ("q2", "two", None)]


def test_a_byte_order_mark_is_not_part_of_the_first_column(tmp_path: Path) -> None:
    assert said(rows(tmp_path, b"\xef\xbb\xbfid,text\r\na,one\r\n")) == [("a", None, "one")]


def test_diva_eval_may_have_real_line_breaks_and_markers_of_failure(tmp_path: Path) -> None:
    text = (
        'a[SEP_DIAL]"""first\n\n"quoted"\nlast"""[SEP_DIAL]0.25\n'
        'b[SEP_DIAL]"""ERROR IN PROCESSING"""[SEP_DIAL]0.0\n'
        'c[SEP_DIAL]"""said"""[SEP_DIAL]NA\n'
        'd[SEP_DIAL]""""""[SEP_DIAL]1e-3'
    )
    a, b, c, d = rows(tmp_path, text)
    assert a.text == 'first\n\n"quoted"\nlast'
    assert (b.status, b.given, b.text) == ("error", None, "")
    assert (c.status, c.given) == ("error", None)
    assert (d.status, d.given, d.text) == ("ok", 0.001, "")


@pytest.mark.parametrize(
    ("ids", "expected"), [((0, 1, 2), [0, 1, 2]), ((1, 0, 2), [None] * 3), ((0, 2, 3), [None] * 3)]
)
def test_diva_eval_row_numbers_are_only_those_from_0_without_a_gap(
    tmp_path: Path, ids: tuple[int, ...], expected: list[int | None]
) -> None:
    text = "".join(f'{i}[SEP_DIAL]"""Ang"""[SEP_DIAL]1\n' for i in ids)
    assert [p.row for p in rows(tmp_path, text)] == expected


def test_diva_eval_takes_an_answer_of_very_many_lines(tmp_path: Path) -> None:
    loop = "the same again\n" * 20_000
    (row,) = rows(tmp_path, f'a[SEP_DIAL]"""{loop}"""[SEP_DIAL]0.5\n')
    assert (row.text, row.given) == (loop, 0.5)


def test_lm_eval_takes_the_raw_answer_or_the_filter_that_is_named(tmp_path: Path) -> None:
    row = json.loads(GOOD["lm-eval"])
    text = "".join(json.dumps(row | {"filter": f, "filtered_resps": [f"{f}!"]}) + "\n" for f in ("strict", "loose"))
    with pytest.raises(PredictionError, match="say which with --only: loose, strict"):
        rows(tmp_path, text)
    with pytest.raises(PredictionError, match="no rows of filter 'x'; there is loose, strict"):
        rows(tmp_path, text, only="x")
    assert said(rows(tmp_path, text, only="strict")) == [(None, 0, "strict!")]
    assert said(rows(tmp_path, json.dumps(row))) == [(None, 0, "one two")]


def test_lm_eval_multiple_choice_is_the_label_with_the_highest_log_likelihood(tmp_path: Path) -> None:
    row = json.loads(GOOD["lm-eval"]) | {
        "arguments": {f"gen_args_{i}": {"arg_0": "Q", "arg_1": f" {w}"} for i, w in enumerate(("anger", "joy"))},
        "resps": [[["-4.5", "False"]], [["-0.25", "True"]]],
        "filtered_resps": [["-4.5", "False"], ["-0.25", "True"]],
    }
    assert said(rows(tmp_path, json.dumps(row))) == [(None, 0, "joy")]
    with pytest.raises(PredictionError, match="2 log-likelihoods, but the log does not say of which labels"):
        rows(tmp_path, json.dumps(row | {"arguments": {}}))
    (none,) = rows(tmp_path, json.dumps(row | {"resps": [[["nan", "False"]], [["-0.25", "True"]]]}))
    assert (none.status, none.detail) == ("error", "a log-likelihood is not a number")


def test_lm_eval_without_an_answer_is_an_error_and_two_are_refused(tmp_path: Path) -> None:
    row = json.loads(GOOD["lm-eval"])
    (none,) = rows(tmp_path, json.dumps(row | {"resps": [[]]}))
    assert (none.status, none.detail) == ("error", "the log has no answer")
    with pytest.raises(PredictionError, match="2 answers to one sample"):
        rows(tmp_path, json.dumps(row | {"resps": [["one", "two"]]}))


def test_the_score_file_of_audiobench_is_read_by_its_details(tmp_path: Path) -> None:
    details = [{"question": "q", "reference": "x", "model_prediction": "one", "rate_score": 2.0, "success": 1}]
    tree = {"llama3_70b_judge": {"judge_score": 40.0}, "details": details}
    for text in (json.dumps(tree), json.dumps(tree, indent=4)):
        (row,) = rows(tmp_path, text)
        assert (row.text, row.row, row.reference, row.given) == ("one", 0, "x", None)


@pytest.mark.parametrize("indent", [None, 2])
def test_inspect_json_gives_ids_text_and_errors(tmp_path: Path, indent: int | None) -> None:
    parts = [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "to"}, {"type": "text", "text": "tal"}]
    log = inspect_json(
        inspect_sample("a"),
        inspect_sample("b", parts),
        inspect_sample("c", error={"message": "timeout", "traceback": "..."}),
        inspect_sample("d", "attachment://7f", attachments={"7f": "a long answer"}),
        inspect_sample("e", output={"model": "m", "choices": []}),
        indent=indent,
    )
    found = rows(tmp_path, log)
    assert [p.text for p in found] == ["one", "total", "", "a long answer", ""]
    assert [p.status for p in found] == ["ok", "ok", "error", "ok", "error"]
    assert found[2].detail == "their run: timeout"


def test_inspect_archives_are_read_and_the_last_member_of_a_name_counts(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = inspect_eval(inspect_sample(2, "two"), inspect_sample(1, "old"), inspect_sample(1, "one"))
    assert said(rows(tmp_path, data)) == [("2", 1, "two"), ("1", 0, "one")]


def test_inspect_epochs_are_told_apart(tmp_path: Path) -> None:
    log = inspect_json(inspect_sample("a", "one"), inspect_sample("a", "two", epoch=2))
    with pytest.raises(PredictionError, match="answered in epochs 1, 2; say which with --only"):
        rows(tmp_path, log)
    with pytest.raises(PredictionError, match="no epoch 3; there is 1, 2"):
        rows(tmp_path, log, only="3")
    assert said(rows(tmp_path, log, only="2")) == [("a", None, "two")]


# ---------------------------------------------------------------- files that are not right


BINARY, LATIN = b"PK\x05\x06" + bytes(20), "id,text\na,caf\xe9\n".encode("latin-1")


@pytest.mark.parametrize(
    ("content", "format", "message"),
    [
        ("", "auto", "is empty"),
        ("  \n\n", "jsonl", "is empty"),
        (BINARY, "auto", "is binary, not text"),
        (LATIN, "auto", r"answers:2: is not UTF-8 \(byte 0xe9\)"),
        ("hello\nworld\n", "auto", "fits none of jsonl, csv"),
        ('{"qid": "a", "said": "x"}\n', "auto", "Its first row has qid, said"),
        ('{"id": "a", "text": "x"}\n{"id": "b", "te', "jsonl", "answers:2: is not valid JSON .* cut off"),
        ('{"id": "a", "text": "x"}\n[1]\n', "jsonl", "answers:2: expected a JSON object, found list"),
        ('{"id": "a", "text": "x"}\n{"id": "b"}\n', "jsonl", "answers:2: no column for the answer"),
        ('{"id": "a", "text": 5}\n', "jsonl", "the answer is 5, not text"),
        ('{"id": "a", "text": null}\n', "jsonl", "the answer is None, not text"),
        ('{"id": 1.5, "text": "x"}\n', "jsonl", "the id must be text or a whole number"),
        ('{"id": "a", "text": "x", "status": "fine"}\n', "jsonl", "status is 'fine'. Allowed: ok, unsupported, error"),
        ('{"id": "a", "text": "x", "choices": {"y": 1}}\n', "jsonl", "maps each label to"),
        ('{"id": "a", "text": "x", "answer": "y"}\n', "jsonl", "text and answer may both be the answer"),
        ("id,text\na,one,more\n", "csv", "answers:2: 3 fields, but the header has 2"),
        ('id,text\na,"one\n', "csv", "answers:2: not valid CSV"),
        ("id,text,text\na,b,c\n", "csv", "column 'text' stands twice"),
        ("id,text\n", "csv", "has no rows"),
        ('a[SEP_DIAL]"""one"""[SEP_DIAL]0.5\nb[SEP_DIAL]"""tw', "diva-eval", "answers:2: not a whole row"),
        ('a[SEP_DIAL]"""tw\nb[SEP_DIAL]"""one"""[SEP_DIAL]1\n', "diva-eval", "answers:1: not a whole row"),
        ('a[SEP_DIAL]"""one"""[SEP_DIAL]high\n', "diva-eval", "the score is 'high', not a finite number or NA"),
        ('a[SEP_DIAL]"""one"""[SEP_DIAL]inf\n', "diva-eval", "the score is 'inf'"),
        ('{"doc_id": "x", "resps": [["a"]], "doc": {}}\n', "lm-eval", "doc_id is 'x', not a row number"),
        ('{"doc_id": 0}\n', "lm-eval", "needs doc_id and resps"),
        ('{"prompt": "q", "response": null}\n', "voicebench", "response is None, not text"),
        ('{"bleu": 13.6}', "audiobench", "expected a list of items"),
        ('[{"model_prediction": "x"}, 3]', "audiobench", "item 1: expected an object, found int"),
        ('{"eval": {}, "samples": 3}', "inspect", "not an inspect log with samples"),
        ('{"eval": {}, "samples": [{"epoch": 1}]}', "inspect", "sample 0: not a sample"),
        ('{"eval": {}, "samples": [{"id": 1, "epoch": "1"}]}', "inspect", "sample 0: epoch is '1', not a number"),
        ('{"eval": {}, "samples": [{"id": 1.5}]}', "inspect", "the id must be text or a number, found 1.5"),
        (' [SEP_DIAL]"""one"""[SEP_DIAL]1\n', "diva-eval", "answers:1: the id is empty"),
        ("[" * 100_000, "audiobench", "nested too deeply"),
    ],
)
def test_a_file_that_is_not_right_is_refused_with_the_place(
    tmp_path: Path, content: str | bytes, format: str, message: str
) -> None:
    with pytest.raises(PredictionError, match=message):
        rows(tmp_path, content, format)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictions, "_LARGEST", 1 << 20)
    with pytest.raises(PredictionError, match=r"answers: 2 MiB; at most 1 MiB are read\. Split it"):
        rows(tmp_path, "x" * (2 << 20))


def test_a_missing_file_and_an_unknown_format_are_said(tmp_path: Path) -> None:
    with pytest.raises(PredictionError, match="cannot be read"):
        read([Source(tmp_path / "none.jsonl")], "auto", Options())
    with pytest.raises(UnknownName, match="Did you mean 'diva-eval'"):
        rows(tmp_path, GOOD["jsonl"], "diva_eval")


def test_a_file_that_two_formats_fit_is_not_guessed_at(tmp_path: Path) -> None:
    both = '{"id": "a", "text": "one", "prompt": "who?", "response": "two"}\n'
    with pytest.raises(PredictionError, match="may be jsonl or voicebench; say which with --format"):
        rows(tmp_path, both)
    assert said(rows(tmp_path, both, "voicebench")) == [(None, 0, "two")]


def test_files_of_two_formats_are_not_one_set_of_answers(tmp_path: Path) -> None:
    files = [source(tmp_path, GOOD["jsonl"], "a"), source(tmp_path, GOOD["csv"], "b")]
    with pytest.raises(PredictionError, match=r"several formats .*a is jsonl, .*b is csv"):
        read(files, "auto", Options())


@pytest.mark.parametrize(
    ("format", "options", "message"),
    [
        ("voicebench", {"columns": {"id": "x"}}, "--columns is for jsonl and csv; this is voicebench"),
        ("jsonl", {"only": "1"}, "--only is for lm-eval, lmms-eval and inspect; jsonl has one answer"),
        ("jsonl", {"columns": {"id": "qid"}}, "column 'qid' .id. is missing; there is id, text"),
    ],
)
def test_options_that_do_not_apply_are_refused(
    tmp_path: Path, format: str, options: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(PredictionError, match=message):
        rows(tmp_path, GOOD[format], format, **options)


def test_archives_that_are_cut_off_bombs_or_of_another_shape_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = inspect_eval(inspect_sample(1))
    for data, message in (
        (whole[:-30], "fits none|not a whole zip"),
        (inspect_eval(), "has no samples"),
        (inspect_eval(**{"samples/1_epoch_1/events.json": b"[]"}), "samples in several parts are not read"),
        (inspect_eval(**{"samples/1_epoch_1.json": b"{"}), "not valid JSON"),
        (b"PK\x03\x04" + bytes(40), "fits none"),
    ):
        with pytest.raises(PredictionError, match=message):
            rows(tmp_path, data)
    monkeypatch.setattr("diva_bench.predictions.inspect_ai._MEMBER", 1 << 20)
    with pytest.raises(PredictionError, match="unpacks to more than 1 MiB; refused"):
        rows(tmp_path, inspect_eval(inspect_sample(1, "x" * (2 << 20))))


# ---------------------------------------------------------------- rows and samples

LABELS = ("anger", "joy", "neutral")


def data(*references: str, ids: str = "q") -> Dataset:
    samples = [Sample(f"{ids}{i}", (r,), f"c{i}", transcript=f"what is {i}") for i, r in enumerate(references)]
    return Dataset(samples=tuple(samples), faults=(), fingerprint="f")


def matched(references: tuple[str, ...], predictions: list[Prediction], **how: Any) -> Matched:
    labels = how.pop("labels", None)
    return match(scoring.task(**how), data(*references), predictions, labels)


def at(i: int, text: str = "x", **more: Any) -> Prediction:
    return Prediction(f"f:{i}", text, row=i, **more)


def named(ident: str, text: str = "x", **more: Any) -> Prediction:
    return Prediction("f:1", text, id=ident, **more)


def test_answers_come_in_the_order_of_the_data() -> None:
    got = matched(("a", "b", "c"), [named("q2", "2"), named("q0", "0")])
    assert [(r.id, r.text) for r in got.responses] == [("q0", "0"), ("q2", "2")]
    assert got.missing == ("q1",)
    assert got.how == "ids"


def test_extra_and_doubled_ids_are_counted_and_listed() -> None:
    rows = [named("q0"), named("q0"), *(named(f"z{i}") for i in range(12))]
    with pytest.raises(PredictionError) as caught:
        matched(("a", "b"), rows)
    message = str(caught.value)
    assert "extra (not in the task): 12: z0, z1, z2, z3, z4, z5, z6, z7, z8, z9 and 2 more" in message
    assert "more than once: 1: q0" in message
    assert "missing: 1: q1" in message


def test_rows_about_samples_that_the_task_leaves_out_are_left_out_and_named() -> None:
    faults, excluded = (Fault("q7", "cannot be decoded"),), (Fault("q8", "wrongly cut"),)
    dataset = replace(data("a", "b"), faults=faults, excluded=excluded)
    got = match(scoring.task(), dataset, [named("q7"), named("q0"), named("q8"), named("q1")])
    assert [r.id for r in got.responses] == ["q0", "q1"]
    assert (got.left_out, got.missing) == (("q7", "q8"), ())
    alone = match(scoring.task(), dataset, [named("q8")])
    assert (alone.left_out, alone.missing) == (("q8",), ("q0", "q1"))


def test_ids_of_another_data_set_are_told_with_what_ids_look_like() -> None:
    with pytest.raises(PredictionError, match=r"id 'z1' is no id of the task, .* the task's look like q0, q1"):
        matched(("a", "b"), [named("z1")])


def test_numbers_that_are_the_ids_of_the_data_are_ids() -> None:
    dataset = Dataset(tuple(Sample(str(i), ("a",), "c") for i in (2, 1, 0)), (), "f")
    rows = [Prediction(f"f:{i}", f"said {i}", id=str(i), row=i) for i in range(3)]
    got = match(scoring.task(), dataset, rows)
    assert [(r.id, r.text) for r in got.responses] == [("2", "said 2"), ("1", "said 1"), ("0", "said 0")]


def test_row_numbers_are_checked_against_the_references() -> None:
    rows = [at(0, reference="Alpha"), at(1, reference="['x', 'b']"), at(2, reference="It must be c, they say.")]
    assert matched(("alpha", "b", "c"), rows).how == "row numbers, checked against the references"
    with pytest.raises(
        PredictionError, match="f:1: row 1 of the data is q1, but the file's reference is 'c', the task's"
    ):
        matched(("a", "b", "c"), [at(0, reference="a"), at(1, reference="c"), at(2, reference="b")])


def test_a_label_as_a_number_counts_from_0_in_the_order_of_the_task() -> None:
    assert (
        "the references" in matched(("joy", "anger"), [at(0, reference="1"), at(1, reference="0")], choices=LABELS).how
    )
    with pytest.raises(PredictionError, match="the file's reference is '2', the task's 'anger'"):
        matched(("joy", "anger"), [at(0, reference="1"), at(1, reference="2")], choices=LABELS)


@pytest.mark.parametrize("place", ["total", "first"])
def test_a_log_likelihood_that_is_not_finite_is_refused(place: str) -> None:
    good = LabelScore(-1.0, 1, -1.0)
    row = named("q0", choices={"anger": good, "joy": good, "neutral": replace(good, **{place: float("-inf")})})
    with pytest.raises(PredictionError, match="needs a finite log-likelihood for each of anger, joy, neutral"):
        matched(("joy",), [row], choices=LABELS)


def test_row_numbers_are_checked_against_the_questions_where_there_is_no_reference() -> None:
    assert "the questions" in matched(("a", "b"), [at(0, question="What is 0?"), at(1, question="What is 1?")]).how
    with pytest.raises(PredictionError, match="the file asks 'What is 0'"):
        matched(("a", "b"), [at(0, question="what is 0"), at(1, question="What is 0")])


def test_row_numbers_with_nothing_to_check_them_by_say_so() -> None:
    assert matched(("a",), [at(0)]).how == "row numbers, which nothing in the file could be checked by"


def test_a_row_number_beyond_the_data_is_another_split() -> None:
    with pytest.raises(
        PredictionError, match=r"row 1 of the data, which has 1 .* the file has 2 rows. Is it another split"
    ):
        matched(("a",), [at(0), at(1)])


@pytest.mark.parametrize(
    ("text", "label"),
    [("Ang", "anger"), ("Ne", "neutral"), (" J", "joy"), ("Joy.", "joy"), ("angry", "anger"), ("xyz", ""), ("", "")],
)
def test_a_first_token_is_the_one_choice_that_begins_so(text: str, label: str) -> None:
    how = {"choices": LABELS, "synonyms": {"angry": "anger"}}
    rows = [named("q0", text, first_token=True), named("q1", "Joy", first_token=True)]
    got = matched(("anger", "joy"), rows, **how)
    assert (got.responses[0].label, got.responses[0].text) == (label, text)
    assert got.nameless == (label == "")


def test_free_text_is_left_to_the_parser_and_first_tokens_that_two_choices_share_name_none() -> None:
    free = matched(("anger",), [named("q0", "Ang")], choices=LABELS).responses[0]
    assert free.label is None
    rows = [named(f"q{i}", text, first_token=True) for i, text in enumerate(("s", "sa"))]
    got = matched(("sad", "sad"), rows, choices=("sad", "surprised"))
    assert [r.label for r in got.responses] == ["", "sad"]


def test_labels_that_mostly_name_no_choice_are_of_another_task() -> None:
    rows = [named("q0", "Yes", first_token=True), named("q1", "No", first_token=True)]
    with pytest.raises(
        PredictionError, match=r"2 of 2 answers name none of .* they say Yes, No. .* --labels Yes=CHOICE"
    ):
        matched(("joy", "anger"), rows, choices=LABELS)
    mixed = [named(f"q{i}", "Joy" if i < 2 else "No", first_token=True) for i in range(5)]
    assert matched(("joy",) * 4, mixed[:4], choices=LABELS).nameless == 2
    with pytest.raises(PredictionError, match="3 of 5 answers name none of"):
        matched(("joy",) * 5, mixed, choices=LABELS)


def test_what_came_with_an_answer_that_failed_is_no_label_and_no_score() -> None:
    rows = [
        named("q0", "Joy", first_token=True, given=1.0),
        named("q1", "Joy", first_token=True, given=1.0, status="error"),
    ]
    good, bad = matched(("joy", "joy"), rows, choices=LABELS).responses
    assert (good.label, dict(good.scores)) == ("joy", {"given": 1.0})
    assert (bad.label, dict(bad.scores)) == (None, {})


def test_labels_by_other_names_are_mapped_and_a_choice_must_be_one() -> None:
    got = matched(("joy",), [named("q0", " Yes ")], choices=LABELS, labels={"yes": "joy"})
    assert got.responses[0].label == "joy"
    with pytest.raises(PredictionError, match="--labels leads to fun; task trial-de has anger, joy, neutral"):
        matched(("joy",), [named("q0")], choices=LABELS, labels={"yes": "fun"})


def test_the_order_of_first_tokens_is_checked_by_which_were_right() -> None:
    rows = [at(0, "Ang", first_token=True, given=1.0), at(1, "J", first_token=True, given=0.0)]
    assert "which labels were right" in matched(("anger", "neutral"), rows, choices=LABELS).how
    with pytest.raises(PredictionError, match=r"f:1: row 1 .* the file says that joy was wrong, and the label is joy"):
        matched(("anger", "joy"), rows, choices=LABELS)


def test_scores_are_kept_for_all_answers_or_not_at_all() -> None:
    rows = [named("q0", given=0.5), named("q1", status="error")]
    assert [dict(r.scores) for r in matched(("a", "b"), rows).responses] == [{"given": 0.5}, {}]
    with pytest.raises(PredictionError, match="1 of the answers have no score, the others have: q1"):
        matched(("a", "b"), [named("q0", given=0.5), named("q1")])


# ---------------------------------------------------------------- the released files


@pytest.mark.parametrize(
    ("file", "count", "failed", "mean"),
    [
        ("non_social_HeySquad_QA_Results/e2e_DiVA/default_outs.txt", 1002, 0, 0.5517),
        ("non_social_HeySquad_QA_Results/e2e_qwen2/default_outs.txt", 1002, 0, 0.4622),
        ("Spoken_Dialect_QA_Results/e2e_DiVA/usa_outs.txt", 494, 0, 0.5458),
        ("Spoken_Dialect_QA_Results/e2e_DiVA/ind_n_outs.txt", 494, 0, 0.5191),
        ("Spoken_Dialect_QA_Results/e2e_DiVA/kenya_outs.txt", 494, 13, 0.5206),
        ("MELD_emotion_recognition_Results/e2e_DiVA/default_outs.txt", 2608, 0, 0.390),
        ("Mustard_sarcasm_Results/e2e_qwen2/default_outs.txt", 690, 0, 0.555),
    ],
)
def test_the_released_outputs_are_read_whole(file: str, count: int, failed: int, mean: float) -> None:
    if not (RELEASED / file).is_file():
        pytest.skip(f"the released outputs are not here ({RELEASED})")
    format, found = read([Source(RELEASED / file)], "auto", Options())
    scores = [p.given for p in found if p.given is not None]
    assert (format, len(found), sum(p.status == "error" for p in found)) == ("diva-eval", count, failed)
    assert sum(scores) / len(scores) == pytest.approx(mean, abs=5e-5 if mean not in (0.390, 0.555) else 5e-4)
