"""The same task asked by diva-bench, with a clock that starts when the model is loaded and stops when all is stored.

python our_run.py cascade nano WORK/48 answers.json
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from diva_bench.catalog import Catalog
from diva_bench.evaluation import jobs
from diva_bench.evaluation.jobs import Settings
from diva_bench.runs import runner
from diva_bench.types import Silent


def main(model: str, edition: str, folder: Path, target: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        settings = Settings(edition="mini", model_edition=edition, output=Path(place), dtype="float32")
        catalog = Catalog()
        prepared = jobs.prepare(catalog, [model], [str(folder / "translate.yaml")], settings, Silent())
        [job] = jobs.ready(catalog, prepared, Path(place), Silent())
        adapter = catalog.load(job.model, Silent())
        with job.folder(Path(place)) as run_folder:
            cpu, wall = time.process_time(), time.perf_counter()
            runner.ask(job, adapter, run_folder, Silent())
            spent = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
            answers = {r.id: r.text for r in run_folder.responses()}
    target.write_text(json.dumps({**spent, "answers": answers}, ensure_ascii=False, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
