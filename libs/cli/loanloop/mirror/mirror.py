"""Keeps an MLflow server in step with the database: a run and a registered version for each, an alias for the live one.

The database is the truth: what MLflow lacks is written again, and nothing is read back. All is found by the tag
`loanloop.version`, so a mirror that was stopped in between goes on where it was.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from loanloop_evaluator.store.models import VersionFacts
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.entities.model_registry import ModelVersion
from mlflow.environment_variables import MLFLOW_DISABLE_TELEMETRY, MLFLOW_HTTP_REQUEST_MAX_RETRIES
from mlflow.exceptions import MlflowException

from loanloop.mirror.described import GATE, Described, described

LIVE = "champion"
TAG = "loanloop.version"
IS_COMPLETE = "loanloop.complete"
PAGE = 1000  # what MLflow gives at once


class Mirror:
    """`bundle_of` gives the bytes of a version's bundle. The methods wait for MLflow: call them in a thread."""

    def __init__(self, uri: str, preset: str, bundle_of: Callable[[str], bytes]) -> None:
        MLFLOW_DISABLE_TELEMETRY.set(True)  # type: ignore[no-untyped-call]
        # Each look tries again anyway; the library's seven would take minutes.
        MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(2)  # type: ignore[no-untyped-call]
        self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        self._name = f"loanloop-{preset}"
        self._bundle_of = bundle_of
        self._known: dict[str, Described] = {}

    def bring_up_to_date(self, facts: Sequence[VersionFacts]) -> list[str]:
        """Returns the versions that were new, had changed or were not there any more. Raises MlflowException."""
        wanted = [described(each) for each in facts]
        if not wanted:
            return []
        experiment, registered = self._experiment(), self._registered()
        kept = self._kept(experiment, registered)
        changed = [each for each in wanted if each.version not in kept or self._known.get(each.version) != each]
        for each in changed:
            run = self._run(experiment, each)
            self._judged(run, each)
            self._register(run, each, registered)
            self._known[each.version] = each
        pointed = self._point_to_live(wanted, registered)
        return list(dict.fromkeys([*(each.version for each in changed), *pointed]))

    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(self._name)
        return found.experiment_id if found else self._client.create_experiment(self._name)

    def _run(self, experiment: str, version: Described) -> Run:
        """A run that a mirror left half-written is deleted; its files come last."""
        for run in self._runs(experiment, version.version):
            if IS_COMPLETE in run.data.tags:
                return run
            self._client.delete_run(run.info.run_id)
        run = self._client.create_run(
            experiment, start_time=version.started_ms, tags=version.tags, run_name=version.version
        )
        run_id = run.info.run_id
        params = [Param(name, value) for name, value in version.params.items()]
        self._client.log_batch(run_id, params=params, metrics=_metrics(version.metrics, version))
        self._log_files(run_id, version.version)
        self._client.set_tag(run_id, IS_COMPLETE, "true")
        self._client.set_terminated(run_id)
        return self._client.get_run(run_id)

    def _kept(self, experiment: str, registered: Mapping[str, ModelVersion]) -> set[str]:
        """The versions whose run was written to its end, is not deleted, and is the one that is registered."""
        search = partial(self._client.search_runs, [experiment], filter_string=f"tags.`{IS_COMPLETE}` = 'true'")
        runs = {run.data.tags[TAG]: run.info.run_id for run in _of_all_pages(search)}
        return {version for version, made in registered.items() if made.run_id == runs.get(version)}

    def _runs(self, experiment: str, version: str) -> Sequence[Run]:
        return self._client.search_runs([experiment], filter_string=f"tags.`{TAG}` = '{version}'")

    def _log_files(self, run_id: str, version: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "bundle.zip").write_bytes(self._bundle_of(version))
            self._client.log_artifacts(run_id, folder, "bundle")

    def _judged(self, run: Run, version: Described) -> None:
        tags = [RunTag(name, value) for name, value in version.tags.items() if run.data.tags.get(name) != value]
        new = {name: value for name, value in version.verdict.items() if run.data.metrics.get(name) != value}
        if tags or new:
            self._client.log_batch(run.info.run_id, metrics=_metrics(new, version), tags=tags)

    def _register(self, run: Run, version: Described, registered: dict[str, ModelVersion]) -> None:
        verdict = version.tags[GATE]
        if found := registered.get(version.version):
            if found.run_id == run.info.run_id:
                self._client.set_model_version_tag(self._name, found.version, GATE, verdict)
                return
            self._client.delete_model_version(self._name, found.version)  # of a run that was deleted, with its files
        self._make_registered_model()
        source, tags = f"{run.info.artifact_uri}/bundle", {TAG: version.version, GATE: verdict}
        made = self._client.create_model_version(self._name, source, run_id=run.info.run_id, tags=tags)
        registered[version.version] = made

    def _make_registered_model(self) -> None:
        try:
            self._client.create_registered_model(self._name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _registered(self) -> dict[str, ModelVersion]:
        """By our name for the version."""
        found = _of_all_pages(partial(self._client.search_model_versions, f"name = '{self._name}'"))
        return {each.tags[TAG]: each for each in found if TAG in each.tags}

    def _point_to_live(self, wanted: Sequence[Described], registered: Mapping[str, ModelVersion]) -> list[str]:
        """Returns the live version where the alias was elsewhere."""
        live = next((each.version for each in wanted if each.is_live), None)
        if live is None:
            return []
        number = registered[live].version
        aliases = self._client.get_registered_model(self._name).aliases
        if str(aliases.get(LIVE)) == str(number):
            return []
        self._client.set_registered_model_alias(self._name, LIVE, number)
        return [live]


def _of_all_pages(search: Callable[..., Any]) -> Iterator[Any]:
    """MLflow's lists end with their first page, unless they are asked for the next."""
    token = None
    while token != "":
        page = search(max_results=PAGE, page_token=token)
        yield from page
        token = page.token or ""


def _metrics(figures: dict[str, float], version: Described) -> list[Metric]:
    return [Metric(name, value, version.started_ms, 0) for name, value in figures.items()]


def words_of(error: MlflowException) -> str:
    """In one line, and no longer: a proxy may have sent a page."""
    return " ".join(error.message.split())[:300]
