"""What is new since the last look, in sentences: the demo tells them as they happen. Pure."""

from collections.abc import Iterator

from loanloop.observe.snapshot import Breach, Deployment, ModelVersion, Rule, Snapshot, Training
from loanloop.observe.words import day_of, figure, gate_words, month_of

PHASES = {
    "load": "reads the frozen rows",
    "audit": "audits each feature alone, out of time, for leaks",
    "pretrain": "pretrains on masked views of the loans, without labels (NT-Xent)",
    "train": "trains the TabTransformer on the labels",
    "refit": "trains it once more, with the loans that were held out to choose by",
    "boost": "grows the ensemble's trees",
    "calibrate": "calibrates probabilities and chooses the threshold on the validation loans",
    "export": "exports to ONNX and checks that it gives what torch gives",
}
NOT_IN_EACH_TRAINING = frozenset({"refit", "boost"})


class Chronicle:
    """Tells each fact once."""

    def __init__(self) -> None:
        self._told: set[tuple[str, ...]] = set()

    def news(self, snapshot: Snapshot) -> list[str]:
        lines = []
        for key, line in _facts(snapshot):
            if key not in self._told:
                self._told.add(key)
                lines.append(line)
        return lines


def _facts(snapshot: Snapshot) -> Iterator[tuple[tuple[str, ...], str]]:
    for breach in snapshot.breaches:
        yield from _breach_facts(breach, snapshot.rule)
    if snapshot.training is not None:
        yield from _training_facts(snapshot.training)
    for version in snapshot.versions:
        yield ("trained", version.version), _trained(version)
        if version.gate is not None:
            key = ("gate", version.version, str(version.gate.opponent), str(version.gate.passed))
            yield key, f"evaluator: {version.version} {gate_words(version.gate, snapshot.rule)}"
    for deployment in snapshot.deployments:
        yield ("deployed", str(deployment.deployment_seq)), _deployed(deployment)
        yield from _served(snapshot, deployment)
    for breach in snapshot.breaches:
        if breach.closed_by == "deployment":
            yield _closed(breach)
    for alert in snapshot.alerts:
        yield ("alert", alert.kind, alert.message), f"ALERT {alert.severity} {alert.kind}: {alert.message}"


def _breach_facts(breach: Breach, rule: Rule) -> Iterator[tuple[tuple[str, ...], str]]:
    yield (
        ("breach", str(breach.breach_id)),
        f"BREACH on {breach.opened_on} (event time): {rule.metric_name} of {breach.version} over "
        f"{rule.window_days} days is {breach.value:.3f}, upper bound {breach.upper:.3f}, below {rule.threshold:g}",
    )
    if breach.relapses:
        yield (
            ("relapse", str(breach.breach_id), str(breach.relapses)),
            f"BREACH again (relapse {breach.relapses}): {rule.metric_name} of {breach.version} fell soon after "
            f"a recovery, so the breach of {breach.opened_on} goes on",
        )
    if breach.closed_by == "recovery":
        yield _closed(breach)


def _closed(breach: Breach) -> tuple[tuple[str, ...], str]:
    return (
        ("closed", str(breach.breach_id), str(breach.relapses)),
        f"the breach of {breach.version} is closed by {breach.closed_by} on {breach.closed_on} (event time)",
    )


def _training_facts(training: Training) -> Iterator[tuple[tuple[str, ...], str]]:
    run = training.run_id
    why = {
        "labels": "enough new labels",
        "breach": f"the breach, attempt {training.attempt}",
        "manual": "an operator's wish",
    }[training.trigger]
    yield ("run", run), f"trainer: starts a training by itself, for {why}"
    if training.n_rows:
        window = f"{day_of(training.window_from)} to {day_of(training.window_to)}" if training.window_from else ""
        window += "; what is labelled and newer stays unseen, for the gate" if window else ""
        unlabelled = f"{training.n_unlabelled:,} without an outcome to pretrain on, " if training.n_unlabelled else ""
        yield ("rows", run), f"trainer: {training.n_rows:,} labelled loans frozen for it, {unlabelled}{window}"
    for phase in _reached(training):
        yield ("phase", run, phase), f"trainer: {PHASES[phase]}"
        if phase == "audit":
            yield from _audit_facts(training)
    if training.state == "failed":
        yield ("failed", run), f"trainer: the training failed: {training.error}"


def _reached(training: Training) -> list[str]:
    """The phases up to the one at work, so that none that was short is passed over."""
    phases = [phase for phase in PHASES if phase not in NOT_IN_EACH_TRAINING or phase == training.phase]
    if training.state == "succeeded":
        return phases
    return phases[: phases.index(training.phase) + 1] if training.phase in phases else []


def _audit_facts(training: Training) -> Iterator[tuple[tuple[str, ...], str]]:
    for field, reason in training.progress.get("allowed", {}).items():
        yield (
            ("allowed", training.run_id, field),
            f"trainer: {field} is known only after the decision; the portfolio allows it all the same: {reason}",
        )
    for feature, warning in training.progress.get("audit_warnings", {}).items():
        yield ("audit", training.run_id, feature), f"audit WARNING: {warning}"


def _trained(version: ModelVersion) -> str:
    return (
        f"trainer: {version.version} is trained on {version.n_rows:,} loans, "
        f"{month_of(version.train_from)} to {month_of(version.train_to)}"
    )


def _deployed(deployment: Deployment) -> str:
    replaced = f" in place of {deployment.previous}" if deployment.previous else ""
    return f"evaluator: deploys {deployment.version}{replaced}, event time {day_of(deployment.live_from_event_time)}"


def _served(snapshot: Snapshot, deployment: Deployment) -> Iterator[tuple[tuple[str, ...], str]]:
    hot = f", swapped in place of {deployment.previous} while it served" if deployment.previous else ""
    applied = [i.deployment_seq for i in snapshot.instances if i.service == "predictor" and i.is_alive]
    if any(seq == deployment.deployment_seq for seq in applied):
        yield (
            ("served", str(deployment.deployment_seq)),
            f"predictor: serves {deployment.version}{hot}",
        )


def metric_words(rule: Rule, snapshot: Snapshot) -> str:
    """The newest known value, with its day and preset."""
    known = [day for day in snapshot.days if day.value is not None]
    if not known:
        return f"{rule.metric_name}: no day judged yet"
    newest = known[-1]
    return (
        f"{rule.metric_name} {figure(newest.value)} over {rule.window_days} days to {newest.day} "
        f"({newest.version}, {newest.n_loans} loans, preset {rule.portfolio})"
    )
