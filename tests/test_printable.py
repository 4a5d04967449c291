"""What others wrote is shown as text, in every format: no control of the terminal, no formula, no link, and no two the same."""

from __future__ import annotations

import csv
import io
import itertools
import json

import pytest
from rich.console import Console

from diva_bench.printable import as_json, csv_cell, latex, markdown, message, visible
from diva_bench.tables import Column, Table

NASTY = "a\x1b[2J\x07\x9b31m\u202eb\u2066\u200b\r\n\t\ud83d|`x`[y](http://z)<b>&"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 日本 ️👩‍🚀 نمی‌دانم", "plain é 日本 ️👩‍🚀 نمی‌دانم"),
        ("\x1b[2J", r"\x1b[2J"),
        ("a\nb\tc\rd", r"a\nb\tc\rd"),
        ("\u202eevil\u2069", r"\u202eevil\u2069"),
        ("\x9b1m\x7f\x00", r"\x9b1m\x7f\x00"),
        ("a\u200bb\ufeff\u2028", r"a\u200bb\ufeff\u2028"),
        ("\ud83d", r"\ud83d"),
        ("\U000e0041", r"\U000e0041"),
        (r"\x1b", r"\\x1b"),
        (r"C:\new\data \d", r"C:\\new\data \d"),
        ("\\\x1b", r"\\\x1b"),
    ],
)
def test_what_cannot_be_seen_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_two_texts_that_differ_are_shown_as_two() -> None:
    parts = ["\x1b", "\\", "x", "1b", "n", "\n", "u", "\u200b", "'", "="]
    texts = {"".join(chosen) for n in range(5) for chosen in itertools.product(parts, repeat=n)}
    assert len({visible(text) for text in texts}) == len(texts)
    assert len({csv_cell(text) for text in texts}) == len(texts)


def test_a_message_keeps_its_lines_and_the_escapes_of_python() -> None:
    assert message("file: " + repr("a\x1b") + "\n\x1b[1mnext\r") == "file: 'a\\x1b'\n\\x1b[1mnext\\r"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[x](javascript:y)", r"[x]\(javascript:y)".replace("]", r"\]", 1).replace(r"\(", "(")),
        ("![x](http://t/p.png)", r"\![x\](http&#58;//t/p.png)"),
        ("[a][b]", r"[a\][b]"),
        ("[19.1, 25.7]", "[19.1, 25.7]"),
        ("`rm`", r"\`rm\`"),
        ("https://evil.example www.evil.example", r"https&#58;//evil.example www\.evil.example"),
        ("_it_ weighted_f1 **b** ~~c~~", r"\_it\_ weighted_f1 \*\*b\*\* \~~c\~~"),
        ("<script>&lt;", "&lt;script>&amp;lt;"),
        ("a|b\nc", r"a\|b\\nc"),
        ("\x1b[0m", r"\\x1b[0m"),
    ],
)
def test_markdown_makes_no_link_no_code_and_no_html_of_it(text: str, shown: str) -> None:
    assert markdown(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see `compare`", "see `compare`"),
        ("`diva-bench list metrics` says, `score` does", "`diva-bench list metrics` says, `score` does"),
        ("`rm -rf /`, `A` and `", r"\`rm -rf /\`, \`A\` and \`"),
        ("`<b>` of `x", r"\`&lt;b>\` of \`x"),
    ],
)
def test_an_item_keeps_the_names_of_commands_as_code_and_nothing_else(text: str, shown: str) -> None:
    assert markdown(text, item=True) == shown


def test_an_item_of_a_list_begins_no_block() -> None:
    assert [markdown(t, item=True) for t in ("# a", "- b", "3. c", "> d", "-5", "#5")] == [
        r"\# a", r"\- b", r"3\. c", r"\> d", "-5", "#5",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("＝1", "'＝1"),
        ("'=1", "''=1"),
        ("\t=1", r"\t=1"),
        ("-", "-"),
        ("-5.2", "-5.2"),
        ("+3", "+3"),
        ("a=b", "a=b"),
        ("don't", "don't"),
    ],
)
def test_csv_has_no_formula(text: str, shown: str) -> None:
    assert csv_cell(text) == shown


def test_latex_reads_no_command_and_no_option_of_a_line_end() -> None:
    assert latex(r"\input{/etc/passwd}") == r"\textbackslash{}input\{/etc/passwd\}"
    assert latex("[2pt] x") == "{[}2pt] x"
    assert latex("*") == "{*}"
    assert latex("^^5c \x1b") == r"\textasciicircum{}\textasciicircum{}5c \textbackslash{}x1b"


def test_json_is_exact_and_without_what_a_terminal_obeys() -> None:
    value = {NASTY: [NASTY, 1.5, None, "😀", "\U000e0041"]}
    for ascii_only in (False, True):
        text = as_json(value, ascii_only=ascii_only)
        assert json.loads(text) == value
        assert visible(text.replace("\n", "")) == text.replace("\n", "").replace("\\", "\\") or "\\" in text
        assert not any(c in text for c in "\x1b\x07\x9b\u202e\u2066\u200b\r\t\ud83d")
    assert as_json({"a": "é日"}, indent=None) == '{"a": "é日"}'


@pytest.mark.parametrize("width", [20, 80, 160])
def test_no_format_of_a_table_lets_through_what_a_terminal_obeys(width: int) -> None:
    table = Table(NASTY, [Column("m" + NASTY), Column("n")], [[NASTY, 1], ["=1+1", 2.5]], [NASTY])
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(table.to_rich(width))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for text in (shown, table.to_markdown(), table.to_latex(), table.to_csv(), table.to_json()):
        assert text.encode()
        assert not any(c in text for c in "\x1b\x07\x9b\u202e\u2066\u200b\r\t"), text
    assert list(csv.reader(io.StringIO(table.to_csv())))[2] == ["'=1+1", "2.5"]
    assert json.loads(table.to_json())["rows"][0]["m" + NASTY] == NASTY
