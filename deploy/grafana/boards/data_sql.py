"""What the dashboard of data asks of PostgreSQL. Filters and time axes are of event time.

Features are read from a sample of whole pages, about 100,000 loans however many there are; refusals are the newest
100,000 by an index; scores over time come from the histogram that each closed day keeps.
"""

_SAMPLE = """
FROM loan_data.processed_data TABLESAMPLE SYSTEM ((
    SELECT least(100, 100.0 * 100000 / greatest(reltuples, 1))
    FROM pg_class WHERE oid = 'loan_data.processed_data'::regclass)) REPEATABLE (1)
WHERE $__timeFilter(occurred_at)
"""
_BUCKET = "date_trunc(${bucket:sqlstring}, occurred_at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'"

REFUSALS = """
SELECT service, reason, coalesce(field, '') AS field, coalesce(rule, '') AS rule, count(*) AS messages,
       count(replayed_at) AS "sent again"
FROM (SELECT service, reason, field, rule, replayed_at FROM loan_data.rejected
      ORDER BY rejected_at DESC LIMIT 100000) newest
GROUP BY 1, 2, 3, 4 ORDER BY messages DESC LIMIT 100
"""

MISSING = """
SELECT field, sum(n_missing) / nullif(sum(n_loans), 0) AS "without a value", sum(n_missing) AS loans
FROM loan_data.data_quality
GROUP BY field ORDER BY 2 DESC, field
"""

RECEIVED = """
SELECT CASE WHEN estimate < 1000000 THEN (SELECT count(*) FROM loan_data.event_keys) ELSE estimate END AS events
FROM (SELECT greatest(reltuples, 0)::bigint AS estimate
      FROM pg_class WHERE oid = 'loan_data.event_keys'::regclass) e
"""

REFUSED = "SELECT count(*) AS refused FROM loan_data.rejected"

DUPLICATES = "SELECT count(*) AS duplicates FROM loan_data.duplicates"

DEFAULT_SHARE = (
    "SELECT " + _BUCKET + ' AS "time", avg(defaulted::int) AS defaulted' + _SAMPLE
    + "AND defaulted IS NOT NULL GROUP BY 1 ORDER BY 1"
)  # fmt: skip

CATEGORY_SHARES = (
    """
WITH loans AS (
    SELECT """
    + _BUCKET
    + """ AS bucket, coalesce(features ->> ${category:sqlstring}, '(none)') AS value"""
    + _SAMPLE
    + """AND features IS NOT NULL
), frequent AS (
    SELECT value FROM loans GROUP BY value ORDER BY count(*) DESC, value LIMIT 10
)
SELECT bucket AS "time", CASE WHEN value IN (SELECT value FROM frequent) THEN value ELSE '(other)' END AS metric,
       count(*)::float8 / sum(count(*)) OVER (PARTITION BY bucket) AS share
FROM loans GROUP BY 1, 2 ORDER BY 1, 2
"""
)

NUMBER_QUANTILES = (
    "SELECT "
    + _BUCKET
    + """ AS "time",
       percentile_cont(0.1) WITHIN GROUP (ORDER BY value) AS "10 %",
       percentile_cont(0.5) WITHIN GROUP (ORDER BY value) AS "median",
       percentile_cont(0.9) WITHIN GROUP (ORDER BY value) AS "90 %"
FROM (
    SELECT occurred_at, CASE WHEN json_typeof(features -> ${number:sqlstring}) = 'number'
                             THEN (features ->> ${number:sqlstring})::float8 END AS value"""
    + _SAMPLE
    + """) loans
WHERE value IS NOT NULL
GROUP BY 1 ORDER BY 1
"""
)

SCORES_BY_TIME = """
SELECT date_trunc(${bucket:sqlstring}, p.day::timestamp) AT TIME ZONE 'UTC' AS "time",
       ((h.bin - 1) / 4 * 0.2)::numeric(3, 1) || ' to ' || ((h.bin - 1) / 4 * 0.2 + 0.2)::numeric(3, 1) AS metric,
       sum(h.n::bigint) AS loans
FROM loan_data.model_performance p
CROSS JOIN LATERAL jsonb_array_elements_text(p.metrics -> 'histogram') WITH ORDINALITY AS h(n, bin)
WHERE p.kind = 'daily' AND $__timeFilter(p.window_to)
GROUP BY 1, 2 ORDER BY 1, 2
"""

SHARES_BY_TIME = """
SELECT date_trunc(${bucket:sqlstring}, day::timestamp) AT TIME ZONE 'UTC' AS "time",
       sum(tp + fn) / nullif(sum(n_loans), 0) AS defaulted, sum(tp + fp) / nullif(sum(n_loans), 0) AS declined
FROM loan_data.model_performance
WHERE kind = 'daily' AND $__timeFilter(window_to)
GROUP BY 1 ORDER BY 1
"""

NEWEST_SCORES = """
SELECT ((b.bin - 1) * 0.05)::numeric(3, 2)::text AS "from", count(probability) AS loans
FROM generate_series(1, 20) AS b(bin)
LEFT JOIN (SELECT probability FROM loan_data.predictions ORDER BY decision_id DESC LIMIT 10000) newest
       ON least(floor(probability * 20) + 1, 20) = b.bin
GROUP BY b.bin ORDER BY b.bin
"""

# Of the newest labelled loans, because what a portfolio's file says isn't in the database. Few values first.
CATEGORIES = """
SELECT key FROM (SELECT features FROM loan_data.processed_data WHERE counts_at IS NOT NULL
                 ORDER BY counts_at DESC LIMIT 500) newest
CROSS JOIN LATERAL json_each(features)
WHERE json_typeof(value) IN ('string', 'boolean')
GROUP BY key ORDER BY count(DISTINCT value #>> '{}') = 1, count(DISTINCT value #>> '{}'), key
"""

NUMBERS = """
SELECT key FROM (SELECT features FROM loan_data.processed_data WHERE counts_at IS NOT NULL
                 ORDER BY counts_at DESC LIMIT 500) newest
CROSS JOIN LATERAL json_each(features)
WHERE json_typeof(value) = 'number'
GROUP BY key ORDER BY key
"""
