"""What the loop's dashboard asks of PostgreSQL. Filters and time axes are of event time.

`model_performance` has a row for each version and day, and most tables a row for what happens now and then. Of loans
and decisions only what an index gives, a sample or PostgreSQL's own estimate is read.
"""

SPAN = """
SELECT
    (SELECT occurred_at FROM loan_data.processed_data
     WHERE counts_at IS NOT NULL ORDER BY counts_at LIMIT 1) AS "first labelled loan",
    (SELECT occurred_at FROM loan_data.predictions ORDER BY decision_id DESC LIMIT 1) AS "newest decided loan",
    (SELECT known_at FROM loan_data.processed_data
     WHERE counts_at IS NOT NULL ORDER BY known_at DESC LIMIT 1) AS "newest outcome",
    (SELECT max(day) FROM loan_data.model_performance WHERE kind = 'daily') AS "last closed day"
"""

LIVE = """
SELECT version || CASE WHEN pinned THEN ' (pinned)' ELSE '' END AS version
FROM loan_data.deployments ORDER BY deployment_seq DESC LIMIT 1
"""

STORED = """
SELECT CASE WHEN estimate < 1000000 THEN (SELECT count(*) FROM loan_data.processed_data WHERE features IS NOT NULL)
            ELSE estimate END AS loans
FROM (SELECT greatest(reltuples, 0)::bigint AS estimate
      FROM pg_class WHERE oid = 'loan_data.processed_data'::regclass) e
"""

DECIDED = """
SELECT CASE WHEN estimate < 1000000 THEN (SELECT count(*) FROM loan_data.decision_keys) ELSE estimate END AS decisions
FROM (SELECT greatest(reltuples, 0)::bigint AS estimate
      FROM pg_class WHERE oid = 'loan_data.decision_keys'::regclass) e
"""

LABELLED = """
SELECT CASE WHEN estimate < 1000000 THEN (SELECT count(*) FROM loan_data.processed_data WHERE counts_at IS NOT NULL)
            ELSE estimate END AS labelled
FROM (SELECT greatest(reltuples, 0)::bigint AS estimate
      FROM pg_class WHERE oid = 'loan_data.processed_data_counts_at'::regclass) e
"""

BREACH = """
SELECT coalesce((SELECT 'of ' || version || ' since ' || opened_on FROM loan_data.breaches
                 WHERE closed_at IS NULL ORDER BY breach_id DESC LIMIT 1), 'none') AS breach
"""

TRAINING = """
SELECT coalesce((SELECT state || coalesce(': ' || CASE WHEN state = 'running' THEN phase ELSE version END, '')
                 FROM loan_data.training_runs ORDER BY created_at DESC LIMIT 1), 'none yet') AS training
"""

METRIC_BY_VERSION = """
SELECT day::timestamp AT TIME ZONE 'UTC' AS "time", version AS metric, value
FROM loan_data.model_performance
WHERE kind = 'daily' AND value IS NOT NULL AND $__timeFilter(window_to)
ORDER BY day, version
"""

# Where two versions have figures for a day, those of the one that was trained last.
METRIC_BOUNDS = """
SELECT DISTINCT ON (p.day) p.day::timestamp AT TIME ZONE 'UTC' AS "time", p.lower, p.upper,
       (p.metrics ->> 'threshold')::float8 AS threshold
FROM loan_data.model_performance p
JOIN loan_data.model_metadata m ON m.version = p.version
WHERE p.kind = 'daily' AND $__timeFilter(p.window_to)
ORDER BY p.day, (p.value IS NOT NULL) DESC, m.number DESC
"""

WINDOW_FIGURES = """
SELECT DISTINCT ON (p.day) p.day::timestamp AT TIME ZONE 'UTC' AS "time",
       w.tp / nullif(w.tp + w.fp, 0) AS "precision", w.tp / nullif(w.tp + w.fn, 0) AS recall,
       (w.tp + w.tn) / nullif(w.n_loans, 0) AS accuracy, w.f1 AS "F1", w.roc_auc AS "ROC-AUC"
FROM loan_data.model_performance p
JOIN loan_data.model_metadata m ON m.version = p.version
CROSS JOIN LATERAL jsonb_to_record(p.metrics -> 'window')
    AS w(n_loans float8, tp float8, fp float8, tn float8, fn float8, f1 float8, roc_auc float8)
WHERE p.kind = 'daily' AND $__timeFilter(p.window_to)
ORDER BY p.day, (p.value IS NOT NULL) DESC, m.number DESC
"""

OUTCOMES_BY_DAY = """
SELECT day::timestamp AT TIME ZONE 'UTC' AS "time",
       sum(tn + fn) AS approved, sum(tp + fp) AS declined
FROM loan_data.model_performance
WHERE kind = 'daily' AND $__timeFilter(window_to)
GROUP BY day ORDER BY day
"""

LOANS_BY_TIME = """
WITH share AS (
    SELECT least(100, 100.0 * 200000 / greatest(reltuples, 1)) AS percent
    FROM pg_class WHERE oid = 'loan_data.processed_data'::regclass
)
SELECT date_trunc(${bucket:sqlstring}, occurred_at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS "time",
       CASE WHEN is_history THEN 'history' ELSE 'to decide' END AS metric,
       count(*) * 100 / (SELECT percent FROM share) AS loans
FROM loan_data.processed_data TABLESAMPLE SYSTEM ((SELECT percent FROM share)) REPEATABLE (1)
WHERE $__timeFilter(occurred_at)
GROUP BY 1, 2 ORDER BY 1, 2
"""

DEPLOYMENTS = """
SELECT deployment_seq AS seq, version, kind, previous, pinned, actor, login, reason,
       live_from_event_time AS "live from (event time)", live_to_event_time AS "live to (event time)",
       live_from AS "live from (wall clock)", live_to AS "live to (wall clock)"
FROM loan_data.deployment_intervals
ORDER BY deployment_seq DESC LIMIT 50
"""

VERSIONS = """
SELECT m.version, r.trigger, m.train_from AS "trained from", m.train_to AS "trained to", m.n_rows AS "loans",
       g.value AS "gate value", g.lower, g.upper, g.passed, g.n_loans AS "gate loans",
       g.window_from AS "gate from", g.window_to AS "gate to", g.reason
FROM loan_data.model_metadata m
JOIN loan_data.training_runs r USING (run_id)
LEFT JOIN LATERAL (
    SELECT * FROM loan_data.model_performance p
    WHERE p.kind = 'gate' AND p.role = 'challenger' AND p.version = m.version
    ORDER BY p.evaluated_at DESC LIMIT 1
) g ON true
ORDER BY m.number DESC LIMIT 50
"""

RUNS = """
SELECT trigger, attempt, state, version, as_of AS "as of", window_from AS "loans from", window_to AS "loans to",
       n_rows AS loans, n_unlabelled AS "without label",
       extract(epoch FROM finished_at - started_at)::float8 AS "duration", crashes, error
FROM loan_data.training_runs
ORDER BY created_at DESC LIMIT 50
"""

BREACHES = """
SELECT version, opened_on AS "opened", value, upper AS "upper bound", n_loans AS loans, closed_on AS closed,
       closed_by AS "closed by", relapses,
       (SELECT count(*) FROM loan_data.training_runs r WHERE r.breach_id = b.breach_id) AS trainings
FROM loan_data.breaches b
ORDER BY breach_id DESC LIMIT 50
"""

ALERTS = """
SELECT severity, kind, service, message, raised_at AS "raised at (wall clock)"
FROM loan_data.alerts
ORDER BY raised_at DESC LIMIT 50
"""

# Before the first outcomes there is no event time: a version that was promoted then has no mark.
DEPLOYED = """
SELECT as_of AS "time", kind || ' ' || version || ': ' || reason AS text, kind AS tags
FROM loan_data.deployments
WHERE $__timeFilter(as_of)
ORDER BY as_of
"""

BREACHED = """
SELECT opened_on::timestamp AT TIME ZONE 'UTC' AS "time", coalesce(closed_on::timestamp AT TIME ZONE 'UTC',
       $__timeTo()::timestamptz) AS timeend, 'breach of ' || version AS text, 'breach' AS tags
FROM loan_data.breaches
WHERE opened_on <= $__timeTo()::timestamptz AND coalesce(closed_on, 'infinity') >= $__timeFrom()::timestamptz
ORDER BY opened_on
"""
