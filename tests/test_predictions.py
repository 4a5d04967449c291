"""Files of other systems' answers: every format as its harness writes it, and every way a file can be wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from diva_bench import textfile
from diva_bench.errors import PredictionError, UnknownName
from diva_bench.predictions import FORMATS, AnswerFile, Prediction, ReadOptions, read

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


def source(tmp_path: Path, content: str | bytes, name: str = "answers") -> AnswerFile:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return AnswerFile(path)


def rows(tmp_path: Path, content: str | bytes, format: str = "auto", **options: Any) -> list[Prediction]:
    return read([source(tmp_path, content)], format, ReadOptions(**options))[1]


def said(predictions: list[Prediction]) -> list[tuple[str | None, int | None, str]]:
    return [(p.id, p.row, p.text) for p in predictions]


# ---------------------------------------------------------------- what each format says


@pytest.mark.parametrize("format", GOOD)
def test_the_content_tells_the_format(tmp_path: Path, format: str) -> None:
    assert read([source(tmp_path, GOOD[format])], "auto", ReadOptions())[0] == format


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
    assert (a.id, a.status, a.label, a.source_score) == ("a", "ok", "no", 1.0)
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
    assert [(p.id, p.text, p.source_score) for p in found] == [("q1", "one", 0.5), ("q2", "two", None)]


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
    assert (b.status, b.source_score, b.text) == ("error", None, "")
    assert (c.status, c.source_score) == ("error", None)
    assert (d.status, d.source_score, d.text) == ("ok", 0.001, "")


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
    assert (row.text, row.source_score) == (loop, 0.5)


def test_lm_eval_takes_the_raw_answer_or_the_filter_that_is_named(tmp_path: Path) -> None:
    row = json.loads(GOOD["lm-eval"])
    text = "".join(json.dumps(row | {"filter": f, "filtered_resps": [f"{f}!"]}) + "\n" for f in ("strict", "loose"))
    with pytest.raises(PredictionError, match="choose one with --only: loose, strict"):
        rows(tmp_path, text)
    with pytest.raises(PredictionError, match="no rows of filter 'x'; available: loose, strict"):
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
        assert (row.text, row.row, row.reference, row.source_score) == ("one", 0, "x", None)


# ---------------------------------------------------------------- files that are not right

BINARY, LATIN = b"PK\x05\x06" + bytes(20), "id,text\na,caf\xe9\n".encode("latin-1")


@pytest.mark.parametrize(
    ("content", "format", "message"),
    [
        ("", "auto", "is empty"),
        ("  \n\n", "jsonl", "is empty"),
        (BINARY, "auto", "is binary, not text"),
        ("id;text\na;b\n", "auto", "answers:1: the delimiter is ';'"),
        ("ID,Text\na,b\n", "auto", "fits none of .* As a table, it has the columns ID, Text"),
        ('{"id": "a", "text": "x", "text": "y"}\n', "jsonl", "answers:1: key 'text' is given twice"),
        (LATIN, "auto", r"answers:2: is not UTF-8 \(byte 0xe9\)"),
        ("hello\nworld\n", "auto", "fits none of jsonl, csv"),
        ('{"qid": "a", "said": "x"}\n', "auto", "Its first row has qid, said"),
        ('{"id": "a", "text": "x"}\n{"id": "b", "te', "jsonl", "answers:2: is not valid JSON .* cut off"),
        ('{"id": "a", "text": "x"}\n[1]\n', "jsonl", "answers:2: expected a JSON object, found an array"),
        ('{"id": "a", "text": "x"}\n{"id": "b"}\n', "jsonl", "answers:2: no column for the answer"),
        ('{"id": "a", "text": 5}\n', "jsonl", "the answer is 5, not text"),
        ('{"id": "a", "text": null}\n', "jsonl", "the answer is None, not text"),
        ('{"id": 1.5, "text": "x"}\n', "jsonl", "the id must be text or a whole number"),
        ('{"id": "a", "text": "x", "status": "fine"}\n', "jsonl", "status is 'fine'. Allowed: ok, unsupported, error"),
        ('{"id": "a", "text": "x", "choices": {"y": 1}}\n', "jsonl", "maps each label to"),
        ('{"id": "a", "text": "x", "answer": "y"}\n', "jsonl", "text and answer may both be the answer"),
        ("id,text\na,one,more\n", "csv", "answers:2: 3 fields, but the header has 2"),
        ('id,text\na,"one\n', "csv", "answers:2: is not a valid table .*never closed"),
        ("id,text,text\na,b,c\n", "csv", "column 'text' occurs twice"),
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
    monkeypatch.setattr(textfile, "LARGEST", 1 << 20)
    with pytest.raises(PredictionError, match=r"answers: is larger than 1 MiB, the most that is read\. Split it"):
        rows(tmp_path, "x" * (2 << 20))


def test_a_missing_file_and_an_unknown_format_are_said(tmp_path: Path) -> None:
    with pytest.raises(PredictionError, match="cannot be read"):
        read([AnswerFile(tmp_path / "none.jsonl")], "auto", ReadOptions())
    with pytest.raises(UnknownName, match="Did you mean 'diva-eval'"):
        rows(tmp_path, GOOD["jsonl"], "diva_eval")


def test_a_file_that_two_formats_fit_is_not_guessed_at(tmp_path: Path) -> None:
    both = '{"id": "a", "text": "one", "prompt": "who?", "response": "two"}\n'
    with pytest.raises(PredictionError, match="may be jsonl or voicebench; choose one with --format"):
        rows(tmp_path, both)
    assert said(rows(tmp_path, both, "voicebench")) == [(None, 0, "two")]


def test_files_of_two_formats_are_not_one_set_of_answers(tmp_path: Path) -> None:
    files = [source(tmp_path, GOOD["jsonl"], "a"), source(tmp_path, GOOD["csv"], "b")]
    with pytest.raises(PredictionError, match=r"several formats .*a is jsonl, .*b is csv"):
        read(files, "auto", ReadOptions())


@pytest.mark.parametrize(
    ("format", "options", "message"),
    [
        ("voicebench", {"columns": {"id": "x"}}, "--columns is for jsonl and csv; this is voicebench"),
        ("jsonl", {"only": "1"}, "--only is for lm-eval, lmms-eval and inspect; jsonl has one answer"),
        ("jsonl", {"columns": {"id": "qid"}}, "column 'qid' .id. is missing; available: id, text"),
    ],
)
def test_options_that_do_not_apply_are_refused(
    tmp_path: Path, format: str, options: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(PredictionError, match=message):
        rows(tmp_path, GOOD[format], format, **options)


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
    format, found = read([AnswerFile(RELEASED / file)], "auto", ReadOptions())
    scores = [p.source_score for p in found if p.source_score is not None]
    assert (format, len(found), sum(p.status == "error" for p in found)) == ("diva-eval", count, failed)
    assert sum(scores) / len(scores) == pytest.approx(mean, abs=5e-5 if mean not in (0.390, 0.555) else 5e-4)
