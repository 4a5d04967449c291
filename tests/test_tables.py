"""One table in five formats, and what happens where the terminal is narrow."""

import csv
import io
import json

import pytest
from rich.cells import cell_len
from rich.console import Console

from diva_bench.tables import Cell, Column, Score, Table, write

NOTE = "bleu|nrefs:1|case:mixed|eff:no|tok:ja-mecab-0.996-IPA|smooth:exp|version:2.6.0"
COLUMNS = [
    Column("#"),
    Column("model"),
    Column("bleu"),
    Column("n"),
    Column("remarks"),
    *(Column(name, optional=True) for name in ("errors", "unsupported", "unparsed", "chrf2", "run")),
]
ROWS: list[list[Cell]] = [
    [
        1,
        "diva-llama-3-8b-instruct",
        Score(22.41, 19.13, 25.66),
        15531,
        "at chance, 12 clusters",
        0,
        0,
        None,
        33.21,
        "r",
    ],
    [2, "oracle", Score(-0.04, -12.0, 100.0), 48, "", 0, 3, 7, None, "oracle-9c2d71"],
    [None, "cascade", None, 5, "not ranked: 43 of 48 are missing", 3, 0, None, None, "cascade-11bbcc"],
]
TABLE = Table("covost2-ja-4be1f0 (mini: synthetic speech)", COLUMNS, ROWS, [NOTE])


def lines(table: Table, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO())
    console.print(table)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (Score(22.41, 19.13, 25.66), "22.4 [19.1, 25.7]"),
        (Score(22.41), "22.4"),
        (Score(22.41, mark="* "), "* 22.4"),
        (-0.04, "0.0"),  # no minus before a zero
        (Score(-0.04, -0.06, 0.04), "0.0 [-0.1, 0.0]"),
        (15531, "15531"),
        (None, "-"),
        ("a b", "a b"),
    ],
)
def test_cells_are_written_alike_everywhere(cell: Cell, text: str) -> None:
    assert write(cell) == text


# ---------------------------------------------------------------- terminal


@pytest.mark.parametrize("width", [30, 40, 50, 60, 72, 80, 100, 120, 200])
def test_no_width_cuts_numbers_or_words(width: int) -> None:
    shown = lines(TABLE, width)
    text = "\n".join(shown)
    assert max(cell_len(line) for line in shown) <= width
    assert "…" not in text
    whole = {token for line in shown for token in line.split()}
    assert {"22.4", "[19.1,", "25.7]", "15531", "oracle", "instruct"} <= {t.rpartition("-")[2] for t in whole} | whole
    assert "".join(NOTE.split()) in "".join(text.split())


def test_a_wide_terminal_shows_every_column_on_one_line_per_row() -> None:
    shown = lines(TABLE, 200)
    assert shown[2].split() == [column.name for column in COLUMNS]
    assert len(shown) == 1 + 1 + 2 + len(ROWS) + 1 + 1
    assert "22.4 [19.1, 25.7]" in shown[4]


def test_at_80_columns_optional_columns_go_and_are_named() -> None:
    shown = lines(TABLE, 80)
    assert "22.4 [19.1, 25.7]" in "\n".join(shown)  # a column is dropped before an interval is folded
    left_out = shown[-1].removeprefix("not shown at this width: ").split(", ")
    header = next(line for line in shown if line.startswith("#")).split()
    assert header + left_out == [column.name for column in COLUMNS]
    assert header[:5] == ["#", "model", "bleu", "n", "remarks"]


def test_names_fold_at_hyphens() -> None:
    table = Table("", [Column("model"), Column("what it is")], [["diva-llama-3-8b", "x" * 30]])
    assert [line.split()[0] for line in lines(table, 40)[2:]] == ["diva-", "llama-3-", "8b"]


def test_two_long_texts_share_what_is_left() -> None:
    words = "one two three four five six seven eight nine ten " * 2
    got = lines(Table("t", [Column("id"), Column("asked"), Column("said")], [["a1", words, words]], []), 60)
    asked, said = (got[2].index(name) for name in ("asked", "said"))
    assert abs((said - asked) - (60 - said)) <= 4


def test_an_interval_goes_below_its_number_where_nothing_else_can_give() -> None:
    table = Table("", [Column("model"), Column("bleu")], [["x" * 20, Score(22.4, 19.1, 25.7)]])
    shown = lines(table, 35)
    assert shown[2].split() == ["x" * 20, "22.4"]
    assert shown[3].split() == ["[19.1,", "25.7]"]


def test_a_very_narrow_terminal_gets_a_block_per_row() -> None:
    shown = lines(TABLE, 30)
    assert "bleu: 22.4 [19.1, 25.7]" in shown
    assert "unparsed: 7" in shown
    assert not any("not shown" in line for line in shown)


def test_numbers_stand_right_and_texts_left() -> None:
    table = Table(
        "", [Column("name"), Column("n"), Column("mixed")], [["a", 5, "x"], ["bcdef", None, 7], ["", 12345, ""]]
    )
    assert lines(table, 80)[2:] == ["a          5  x    ", "bcdef      -  7    ", "       12345       "]


def test_marks_do_not_move_the_numbers() -> None:
    table = Table("", [Column("m"), Column("n")], [[Score(3.4, mark="* "), 1], [Score(22.1), 2], [None, 3]])
    assert lines(table, 80)[2:] == ["* 3.4  1", " 22.1  2", "    -  3"]


def test_texts_that_are_numbers_stand_right_where_the_column_says_so() -> None:
    table = Table("", [Column("score", number=True), Column("x")], [["22.4 [19.1, 25.7]", "a"], ["-", "b"]])
    assert lines(table, 80)[2:] == ["22.4 [19.1, 25.7]  a", "                -  b"]
    assert "| ---: | --- |" in table.to_markdown()
    assert [line.strip() for line in lines(table, 16)[2:4]] == ["22.4  a", "[19.1, 25.7]"]


def test_wide_characters_count_as_two() -> None:
    table = Table("", [Column("reference"), Column("n")], [["街角の パン屋は 朝六時に 開きます", 1]])
    assert max(cell_len(line) for line in lines(table, 20)) <= 20


def test_brackets_are_not_markup() -> None:
    assert "[bold]x" in lines(Table("[red]t", [Column("a")], [["[bold]x"]]), 80)[-1]


# ---------------------------------------------------------------- files


def test_markdown_escapes_bars_and_marks_numbers() -> None:
    table = Table("a|b", [Column("model"), Column("bleu")], [["x|y <z>", Score(1, 0, 2)], ["*", None]], ["tok:13a|n:1"])
    assert table.to_markdown() == (
        "### a\\|b\n\n"
        "| model | bleu |\n| --- | ---: |\n| x\\|y &lt;z> | 1.0 [0.0, 2.0] |\n| \\* | - |\n\n"
        "- tok:13a\\|n:1\n"
    )


def test_latex_escapes_what_tex_reads() -> None:
    table = Table("5 % of A&B", [Column("run_id"), Column("f1")], [["a_b~c^d", Score(1, 0, 2)]], [r"{\y}#$<|>"])
    text = table.to_latex()
    assert r"\caption{5 \% of A\&B}" in text
    assert r"\begin{tabular}{lr}" in text
    assert "\\toprule\nrun\\_id & f1 \\\\\n\\midrule\n" in text
    assert r"a\_b\textasciitilde{}c\textasciicircum{}d & 1.0 [0.0, 2.0] \\" in text
    assert r"\{\textbackslash{}y\}\#\$\textless{}\textbar{}\textgreater{}" in text
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


def test_csv_has_full_numbers_and_three_columns_for_an_interval() -> None:
    table = Table("t", [Column("model"), Column("bleu")], [["a, b", Score(22.4123, 19.1, 25.7)], ["c", None]], ["n"])
    assert list(csv.reader(io.StringIO(table.to_csv()))) == [
        ["model", "bleu", "bleu low", "bleu high"],
        ["a, b", "22.4123", "19.1", "25.7"],
        ["c", "", "", ""],
    ]


def test_json_keeps_everything() -> None:
    table = Table("t", [Column("model"), Column("bleu")], [["角", Score(22.4123, 19.1, 25.7)], ["c", None]], ["note"])
    assert json.loads(table.to_json()) == {
        "title": "t",
        "columns": ["model", "bleu"],
        "rows": [{"model": "角", "bleu": {"value": 22.4123, "low": 19.1, "high": 25.7}}, {"model": "c", "bleu": None}],
        "notes": ["note"],
    }


def test_a_row_of_another_length_is_our_own_bug() -> None:
    with pytest.raises(ValueError, match="table 't': 1 cells in a row of 2 columns"):
        Table("t", [Column("a"), Column("b")], [["x"]])


def test_a_table_without_rows_is_still_a_table() -> None:
    table = Table("t", [Column("a"), Column("b")], [])
    assert lines(table, 80)[2].split() == ["a", "b"]
    assert table.to_csv() == "a,b\n"
    assert "| a | b |" in table.to_markdown()
