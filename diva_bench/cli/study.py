"""`study`: blind preference studies."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from diva_bench.cli.options import Commands, EditionOfModels, Format, Paths, Report
from diva_bench.cli.streams import check_file, say, write_file

app = Commands(
    no_args_is_help=True, rich_markup_mode=None, help="Blind preference studies: collect votes, analyse them."
)

Database = Annotated[Path, typer.Argument(metavar="DATABASE", help="The study's database (.sqlite).")]


@app.callback()
def _root() -> None:
    """Blind preference studies: collect votes, analyse them."""


@app.command()
def serve(
    file: Annotated[
        Path, typer.Argument(metavar="STUDY.yaml", help="The study: systems, quotas, texts; see docs/study.md.")
    ],
    database: Annotated[
        Path | None, typer.Option(help="Database of the votes (default: NAME.sqlite); continued if it is there.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Others than 127.0.0.1 can be reached from elsewhere.")
    ] = ("127.0.0.1"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: any free one.")] = 8720,
    links: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="Print this number of new single-use links; only they let in.")
    ] = None,
    path: Paths = None,
) -> None:
    """Serve the page of a study. It shows answers of runs or models, without names and in random order. Ctrl-C stops it."""
    from diva_bench.cli.progress import Terminal
    from diva_bench.study.serving import serve

    serve(file, database, host, port, links, say, Terminal(), path or [])


@app.command()
def simulate(
    file: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study, as for `study serve`.")],
    metric: Annotated[
        str | None, typer.Option(help="Metric of the task; the answer with the better value is preferred.")
    ] = None,
    judge: Annotated[str | None, typer.Option(help="Model of the catalog that compares the answers.")] = None,
    database: Annotated[Path | None, typer.Option(help="Database of the votes (default: NAME.sqlite).")] = None,
    edition: EditionOfModels = None,
    path: Paths = None,
) -> None:
    """Add the votes of a simulated rater to a study. A metric or an LLM judge votes on what people voted on; `study report`
    shows how often it agrees with them, and its votes are in no other table."""
    from diva_bench.cli.progress import Terminal
    from diva_bench.study.simulate import of_study

    if (metric is None) == (judge is None):
        raise typer.BadParameter("give one of --metric and --judge.")
    done = of_study(file, database, metric, judge, edition, Terminal(), path or [])
    say(
        f"simulated rater {done.name}: {done.added:,} votes added, {done.before:,} were there, {done.unclear:,} questions "
        "without a clear verdict. `diva-bench study report` shows its agreement with people."
    )


@app.command()
def report(
    votes: Annotated[
        Path,
        typer.Argument(metavar="VOTES", help="The study's database, or a file of votes that `study import` reads."),
    ],
    without_flagged: Annotated[
        bool,
        typer.Option(
            "--without-flagged", help="Leave out raters who failed an attention check or always chose the same place."
        ),
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Also draw the win rates: .png, .svg or .pdf.")] = None,
    format: Format = "rich",
    output: Report = None,
) -> None:
    """Analyse the votes of a study. The tables have win rates with intervals and tests, strengths, agreement, bias and
    flagged raters; a methods paragraph follows."""
    from diva_bench.cli.show import check_report, print_tables, write_tables
    from diva_bench.printable import markdown
    from diva_bench.study import report as reports
    from diva_bench.study.exchange import read_votes
    from diva_bench.study.store import Store, is_database

    check_report(output)
    check_file(plot, "--plot")
    if is_database(votes):
        with Store(votes) as store:
            every, answers, failures = store.votes(), store.answers(), store.failures()
    else:
        found = read_votes(votes)
        every, answers = found.votes, {(item, system): text for item, system, text in found.answers}
        failures = Counter(system for _, system, _, _ in found.failures)
    results = reports.analyse(every, answers, failures=failures, without_flagged=without_flagged)
    tables = reports.tables(results)
    print_tables(tables, format, every=format == "csv")
    text = reports.methods(results)
    if format in ("rich", "md"):
        say()
        say(f"For the methods section: {text}" if format == "rich" else markdown(text))
    write_tables(
        tables, output, lambda some: "\n\n".join([*(t.to_markdown() for t in some), markdown(text)]) + "\n", every=True
    )
    if plot is not None:
        reports.plot(results, plot)


@app.command()
def power(
    preference: Annotated[
        list[float] | None,
        typer.Option(
            min=50.1, max=99.9, help="True share of decided votes in per cent; may be repeated (default: several)."
        ),
    ] = None,
    power: Annotated[float, typer.Option(min=0.05, max=0.999, help="Probability to find the preference.")] = 0.8,
    ties: Annotated[float, typer.Option(min=0, max=95, help="Expected share of ties and both bad, in per cent.")] = 0.0,
    per_rater: Annotated[int, typer.Option("--per-rater", min=1, max=10_000, help="Votes of one rater.")] = 1,
    correlation: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Intraclass correlation of the votes of one rater.")
    ] = 0.0,
    format: Format = "rich",
) -> None:
    """Print how many votes a study needs. The number depends on the preference to be detected, and on the raters."""
    from diva_bench.cli.show import print_table
    from diva_bench.study.power import power_table

    print_table(power_table(preference or [55, 60, 65, 70, 75, 80], power, ties, per_rater, correlation), format)


@app.command()
def export(
    database: Database,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write: .json (everything) or .csv (the votes).")
    ],
) -> None:
    """Write the votes of a study to a file. JSON can be imported again; CSV is for spreadsheets. Raters are hashes."""
    from diva_bench.study.exchange import as_document, as_table
    from diva_bench.study.store import Store

    if output.suffix not in (".json", ".csv"):
        raise typer.BadParameter(f"{output}: its ending names no format. Allowed: .json, .csv.", param_hint="--output")
    check_file(output, "--output")
    with Store(database) as store:
        votes = store.votes()
        write_file(output, as_document(store) if output.suffix == ".json" else as_table(votes).to_csv(), "--output")
    say(f"{output}: {len(votes):,} votes.")


@app.command(name="import")
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            help="An export, the DiVA study's user_study.json, or rows with model_a, model_b, winner (JSON, JSON lines, CSV)."
        ),
    ],
    database: Annotated[
        Path, typer.Argument(metavar="DATABASE", help="The database that gets the votes; made if there is none.")
    ],
) -> None:
    """Add the votes of a file to a database. A vote that is there already is not added again."""
    from diva_bench.study.exchange import into, read_votes
    from diva_bench.study.store import Store

    found = read_votes(file)
    with Store(database, create=True) as store:
        added = into(store, found)
    say(
        f"{database}: {added:,} of {len(found.votes):,} votes added ({found.form}); the others were there or are withdrawn."
    )


@app.command()
def withdraw(
    database: Database,
    rater: Annotated[str, typer.Argument(help="The rater's name, such as a Prolific id, or the hash in an export.")],
    recordings: Annotated[
        Path | None, typer.Option(help="Folder of the recordings (default: DATABASE with -recordings).")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Delete. Without it, the command only says how many votes there are.")
    ] = False,
) -> None:
    """Delete what one rater has left, at the rater's request. Votes, recordings and answers go; the deletion is recorded."""
    from diva_bench.errors import UserError
    from diva_bench.study.store import Store, recordings_of

    with Store(database) as store:
        known = store.one(
            "SELECT 1 FROM raters WHERE rater = ?1 UNION ALL SELECT 1 FROM votes WHERE rater = ?1", (rater,)
        )
        hashed = rater if known or store.withdrawn(rater) else store.hashed(rater)
        count = store.one("SELECT count(*) FROM votes WHERE rater = ?", (hashed,))
        votes = int(count[0]) if count else 0
        if not yes and not store.withdrawn(hashed):
            raise UserError(
                f"{database}: has {votes} votes of this rater. Nothing was deleted. Deletion cannot be undone: give --yes for it."
            )
        done = store.withdraw(hashed, recordings or recordings_of(database))
    say(
        f"{database}: deleted on {done.at}: {done.votes} votes, {done.recordings} recordings. The deletion is recorded."
    )
