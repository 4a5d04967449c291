"""The models of a study that answer while raters wait: which ones they are, and what they are asked."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from diva_bench import data
from diva_bench.catalog import Catalog
from diva_bench.errors import UserError
from diva_bench.evaluation.editions import choose, of_model
from diva_bench.evaluation.hear import check_takes_audio
from diva_bench.evaluation.jobs import Settings, with_settings
from diva_bench.scorers import cleaned
from diva_bench.specs import ModelSpec, TaskSpec, digest, prompt
from diva_bench.study.model_process import ModelProcess
from diva_bench.study.spec import StudyFile
from diva_bench.types import Audio, Progress, Response, Sample
from diva_bench.weights import assets


@dataclass(frozen=True, slots=True)
class _Chosen:
    """A model, and the inputs that its adapter takes."""

    spec: ModelSpec
    accepts: frozenset[str]
    version: str


class Systems:
    """The models of a study. Nothing is fetched or loaded before it is entered.

    Args:
        study: The study file.
        folder: Its folder.
        paths: Folders of YAML files, for the catalog.
        progress: Gets notes, such as on editions.

    Attributes:
        task: Prompt and settings.
        versions: System -> model, and the hash of what decides its answers.

    Raises:
        UserError: A model or the task is unknown, or does not fit.
    """

    def __init__(self, study: StudyFile, folder: Path, paths: Sequence[Path], progress: Progress) -> None:
        catalog = self._catalog = Catalog(paths)
        self._progress = progress
        self._seconds, self._paths = study.timeout, list(paths)
        name = _place(str(study.task), folder)
        wanted = {system: _place(str(s.model), folder) for system, s in study.systems.items()}
        selection = choose(catalog, [], [name], progress, edition=study.edition)
        leaves = catalog.subsets(name, selection.data)
        if len(leaves) > 1:
            raise UserError(f"task {name} has {len(leaves)} subsets; a study has one: {', '.join(leaves)}.")
        self.task: TaskSpec = catalog.task(leaves[0], selection.data)
        forced = "nano" if study.edition == "nano" else None
        self._chosen: dict[str, _Chosen] = {}
        for system, setting in study.systems.items():
            model = wanted[system]
            first = forced if forced in catalog.model_editions(model) else None
            edition = of_model(catalog, model, selection.data, setting.edition or first, progress, fetch=False)
            spec = with_settings(catalog.model(model, edition), Settings(device=setting.device, dtype=setting.dtype))
            made = catalog.adapter_for(spec)
            if study.record:
                check_takes_audio(spec.name, made.accepts)
            self._chosen[system] = _Chosen(spec, frozenset(made.accepts), made.version)
        if study.record:
            prompt.check(self.task, [_sample("")])
        asked = [self.task.prompt, self.task.system, self.task.decode.model_dump()]
        self.versions = {
            system: f"{one.spec.name}@{digest([one.spec.identity(), one.version, asked])[:8]}"
            for system, one in self._chosen.items()
        }
        self._models: dict[str, ModelProcess] = {}

    def samples(self, progress: Progress) -> Sequence[Sample]:
        """The samples of the task."""
        found = data.load(self.task, assets.cache_folder(), progress).samples
        prompt.check(self.task, found)
        return found

    def __enter__(self) -> Self:
        """Fetch missing weights, and load all models at once. Raises UserError if one cannot be loaded."""
        self._catalog.fetch([one.spec for one in self._chosen.values()], self._progress)
        self._models = {system: ModelProcess(one.spec, self._paths) for system, one in self._chosen.items()}
        try:
            for model in self._models.values():
                if problem := model.loaded():
                    raise UserError(f"model {model.spec.name} cannot be loaded: {problem}")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        for model in self._models.values():
            model.end()

    def ask(self, systems: Collection[str], item: str, sample: Sample | None, sound: Audio) -> dict[str, Response]:
        """The answers of some systems, asked at once. An answer without words is an error: there is nothing to judge.

        Args:
            systems: Their names.
            item: Id of the question.
            sample: The sample of the task; None for a recording.
            sound: The question, 16 kHz mono.
        """

        def one(system: str) -> Response:
            chosen = self._chosen[system]
            request = replace(
                prompt.build(self.task, sample or _sample(item), chosen.accepts, audio=sound), choices=None
            )
            return _with_words(self._models[system].ask(request, self._seconds))

        with ThreadPoolExecutor(len(systems)) as threads:
            return dict(zip(systems, threads.map(one, systems), strict=True))


def _place(name: str, folder: Path) -> str:
    """A name of the catalog as it is; a YAML file relative to the study file."""
    return str(folder / name) if name.endswith((".yaml", ".yml")) else name


def _sample(item: str) -> Sample:
    """A recording as a sample: nobody knows its words or its answer."""
    return Sample(item, ("",), item)


def _with_words(response: Response) -> Response:
    if response.status != "ok":
        return Response(response.id, status="error", detail=response.detail or response.status)
    response = cleaned(response)
    if not response.text.strip():
        return Response(response.id, status="error", detail="the answer has no words")
    return response
