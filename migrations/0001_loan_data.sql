-- The schema loan_data. Each table names its one writer; readers keep their SELECTs in their own store.py.

CREATE SCHEMA IF NOT EXISTS loan_data;

-- What this database serves: one portfolio. Written once by the first service that starts.
CREATE TABLE loan_data.installation (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    portfolio   text NOT NULL,
    schema_hash text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);

-- ── ingest ─────────────────────────────────────────────────────────────────────────────────────────────

-- Identity of each stored event. raw_data is partitioned by time, and a unique key of a partitioned table
-- must contain the partition column, so uniqueness of event_id lives here; it outlives topics and dead letters.
CREATE TABLE loan_data.event_keys (
    event_id       uuid PRIMARY KEY,
    payload_sha256 bytea NOT NULL,
    received_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE loan_data.raw_data (
    event_id        uuid NOT NULL,
    topic           text NOT NULL,
    kafka_partition integer NOT NULL,
    kafka_offset    bigint NOT NULL,
    loan_id         text NOT NULL,
    occurred_at     timestamptz NOT NULL,
    payload         bytea NOT NULL,
    received_at     timestamptz NOT NULL DEFAULT now()
) PARTITION BY RANGE (received_at);
CREATE INDEX raw_data_event_id ON loan_data.raw_data (event_id);
CREATE INDEX raw_data_loan_id ON loan_data.raw_data (loan_id);

-- One row a loan, made by whichever of loan and outcome comes first; one row lock orders the two, so that no
-- label is lost between two ingest replicas. The loan's first event gives the features, the newest correction
-- (outcome_occurred_at, then outcome_event_id) the label.
CREATE TABLE loan_data.processed_data (
    loan_id                   text PRIMARY KEY,
    event_id                  uuid,
    occurred_at               timestamptz,
    features                  jsonb,
    is_history                boolean,
    received_at               timestamptz,
    matured_at                timestamptz,
    defaulted                 boolean,
    known_at                  timestamptz,
    outcome_event_id          uuid,
    outcome_occurred_at       timestamptz,
    outcome_received_at       timestamptz,
    outcome_first_received_at timestamptz,
    -- When the loan counts as labelled: its outcome known and its cohort mature. NULL until both are there.
    counts_at timestamptz GENERATED ALWAYS AS (
        CASE WHEN features IS NOT NULL AND defaulted IS NOT NULL THEN greatest(known_at, matured_at) END
    ) STORED
);
CREATE INDEX processed_data_counts_at ON loan_data.processed_data (counts_at) WHERE counts_at IS NOT NULL;
CREATE INDEX processed_data_known_at ON loan_data.processed_data (known_at) WHERE counts_at IS NOT NULL;
CREATE INDEX processed_data_label_received ON loan_data.processed_data (outcome_received_at)
    WHERE counts_at IS NOT NULL;
CREATE INDEX processed_data_loan_received ON loan_data.processed_data (received_at);
CREATE INDEX processed_data_occurred_at ON loan_data.processed_data (occurred_at) WHERE counts_at IS NOT NULL;
CREATE INDEX processed_data_waiting ON loan_data.processed_data (outcome_received_at) WHERE features IS NULL;

-- A message whose event was stored before under another offset: received = stored + rejected + duplicates.
CREATE TABLE loan_data.duplicates (
    topic           text NOT NULL,
    kafka_partition integer NOT NULL,
    kafka_offset    bigint NOT NULL,
    event_id        uuid NOT NULL,
    seen_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, kafka_partition, kafka_offset)
);

-- Missing values by field and day of arrival, counted in the transaction that stores the loans.
CREATE TABLE loan_data.data_quality (
    day       date NOT NULL,
    field     text NOT NULL,
    n_loans   bigint NOT NULL,
    n_missing bigint NOT NULL,
    PRIMARY KEY (day, field)
);

-- Files that the collector has read to the end, or how far it has come.
CREATE TABLE loan_data.collected_files (
    sha256       bytea PRIMARY KEY,
    path         text NOT NULL,
    rows_done    bigint NOT NULL DEFAULT 0,
    rows_total   bigint,
    n_produced   bigint NOT NULL DEFAULT 0,
    n_refused    bigint NOT NULL DEFAULT 0,
    started_at   timestamptz NOT NULL DEFAULT now(),
    finished_at  timestamptz
);

-- Dead letters, each under the place it came from; every consumer writes its own (service).
CREATE TABLE loan_data.rejected (
    service         text NOT NULL,
    topic           text NOT NULL,
    kafka_partition integer NOT NULL,
    kafka_offset    bigint NOT NULL,
    reason          text NOT NULL,              -- invalid_json | invalid_field | conflict | refused_by_database | too_large …
    field           text,
    rule            text,
    message         text NOT NULL,
    message_key     bytea,
    payload         bytea NOT NULL,             -- whole, or a prefix of a large one
    payload_bytes   bigint NOT NULL,
    payload_sha256  bytea NOT NULL,
    rejected_at     timestamptz NOT NULL DEFAULT now(),
    replayed_at     timestamptz,
    PRIMARY KEY (topic, kafka_partition, kafka_offset, service)
);
CREATE INDEX rejected_at ON loan_data.rejected (rejected_at);

-- ── predictor ──────────────────────────────────────────────────────────────────────────────────────────

-- One decision for each event_id; first writer wins.
CREATE TABLE loan_data.decision_keys (
    event_id       uuid PRIMARY KEY,
    decision_id    uuid NOT NULL UNIQUE,
    payload_sha256 bytea NOT NULL,
    decided_at     timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE loan_data.predictions (
    decision_id    uuid NOT NULL,
    event_id       uuid NOT NULL,
    loan_id        text NOT NULL,
    occurred_at    timestamptz NOT NULL,
    features       json NOT NULL,
    probability    double precision NOT NULL,
    threshold      double precision NOT NULL,
    decision       text NOT NULL CHECK (decision IN ('approve', 'decline')),
    version        text NOT NULL,
    deployment_seq bigint NOT NULL,
    engine         text NOT NULL,               -- runtime version and instruction set; same bits hold within it
    latency_ms     real NOT NULL,
    channel        text NOT NULL CHECK (channel IN ('stream', 'rest')),
    decided_at     timestamptz NOT NULL DEFAULT now()
) PARTITION BY RANGE (decided_at);
CREATE INDEX predictions_decision_id ON loan_data.predictions (decision_id);
CREATE INDEX predictions_event_id ON loan_data.predictions (event_id);
CREATE INDEX predictions_loan_id ON loan_data.predictions (loan_id, decided_at);
CREATE INDEX predictions_decided_at ON loan_data.predictions (decided_at);

-- ── trainer ────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE loan_data.training_runs (
    run_id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    trigger         text NOT NULL CHECK (trigger IN ('labels', 'breach', 'manual')),
    breach_id       bigint,
    attempt         integer NOT NULL DEFAULT 1,
    requested_by    text NOT NULL DEFAULT 'trainer',
    portfolio       text NOT NULL,
    state           text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'succeeded', 'failed')),
    as_of           timestamptz,                -- event time at which the rows were frozen
    window_from     timestamptz,                -- occurred_at of the frozen rows, the gate's share left out
    window_to       timestamptz,
    n_rows          bigint,
    labels_total    bigint,                     -- labelled, mature loans when the run was made
    seed            bigint NOT NULL,
    hyperparameters jsonb NOT NULL DEFAULT '{}',
    phase           text,
    progress        jsonb NOT NULL DEFAULT '{}',
    checkpoint      bytea,
    owner           text,
    heartbeat_at    timestamptz,
    crashes         integer NOT NULL DEFAULT 0,
    error           text,
    version         text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    started_at      timestamptz,
    finished_at     timestamptz
);
-- Two trainers can't start two runs at once.
CREATE UNIQUE INDEX training_runs_one_open ON loan_data.training_runs ((true)) WHERE state IN ('queued', 'running');

-- The frozen set of rows of a run, with the label as it was then.
CREATE TABLE loan_data.training_rows (
    run_id    uuid NOT NULL REFERENCES loan_data.training_runs ON DELETE CASCADE,
    loan_id   text NOT NULL,
    defaulted boolean NOT NULL,
    PRIMARY KEY (run_id, loan_id)
);

CREATE TABLE loan_data.model_metadata (
    version         text PRIMARY KEY,
    number          integer NOT NULL UNIQUE,    -- v1, v2, …
    run_id          uuid NOT NULL UNIQUE REFERENCES loan_data.training_runs,
    portfolio       text NOT NULL,
    schema_hash     text NOT NULL,
    train_from      timestamptz NOT NULL,
    train_to        timestamptz NOT NULL,       -- last loan trained, validated or calibrated on
    n_rows          bigint NOT NULL,
    hyperparameters jsonb NOT NULL,
    metrics         jsonb NOT NULL,             -- of the trainer's own validation
    manifest        jsonb NOT NULL,
    bundle          bytea NOT NULL,
    bundle_sha256   bytea NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now()
);
-- A bundle doesn't compress; out of line and uncompressed it is read fastest.
ALTER TABLE loan_data.model_metadata ALTER COLUMN bundle SET STORAGE EXTERNAL;

-- ── evaluator ──────────────────────────────────────────────────────────────────────────────────────────

-- kind 'gate': a challenger (or its champion) on the frozen window. kind 'daily': a version's own decisions of one
-- day of event time, with the pooled window that ends on that day.
CREATE TABLE loan_data.model_performance (
    performance_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind             text NOT NULL CHECK (kind IN ('gate', 'daily')),
    version          text NOT NULL,
    role             text NOT NULL CHECK (role IN ('challenger', 'champion')),
    opponent         text,                      -- gate: the champion that a challenger was judged against
    day              date,                      -- daily
    window_from      timestamptz NOT NULL,
    window_to        timestamptz NOT NULL,
    n_loans          bigint NOT NULL,
    tp bigint NOT NULL, fp bigint NOT NULL, tn bigint NOT NULL, fn bigint NOT NULL,
    f1               double precision,
    metrics          jsonb NOT NULL,            -- precision, recall, accuracy, roc_auc, pr_auc, brier, histogram, interval …
    value            double precision,          -- of the policy's metric over the window
    lower            double precision,
    upper            double precision,
    passed           boolean,                   -- gate
    reason           text,
    evaluated_at     timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX model_performance_daily ON loan_data.model_performance (version, day) WHERE kind = 'daily';
CREATE UNIQUE INDEX model_performance_gate ON loan_data.model_performance (version, coalesce(opponent, ''), role)
    WHERE kind = 'gate';

CREATE TABLE loan_data.breaches (
    breach_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    version      text NOT NULL,
    opened_on    date NOT NULL,                 -- event time
    opened_at    timestamptz NOT NULL DEFAULT now(),
    value        double precision NOT NULL,
    upper        double precision NOT NULL,
    n_loans      bigint NOT NULL,
    closed_on    date,
    closed_at    timestamptz,
    closed_by    text CHECK (closed_by IN ('deployment', 'recovery'))
);
CREATE UNIQUE INDEX breaches_one_open ON loan_data.breaches (version) WHERE closed_at IS NULL;

-- Append-only. deployment_seq is assigned under a lock; the row with the highest seq of a slot is live.
CREATE TABLE loan_data.deployments (
    deployment_seq bigint PRIMARY KEY,
    slot           text NOT NULL,
    version        text NOT NULL REFERENCES loan_data.model_metadata,
    kind           text NOT NULL CHECK (kind IN ('deploy', 'promote', 'rollback', 'unpin')),
    pinned         boolean NOT NULL DEFAULT false,
    previous       text,
    actor          text NOT NULL,
    reason         text NOT NULL,
    event_id       uuid NOT NULL UNIQUE,        -- of the model.deployed event
    as_of          timestamptz,                 -- event time when it was deployed
    deployed_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX deployments_slot ON loan_data.deployments (slot, deployment_seq DESC);

-- What was live when, on both clocks.
CREATE VIEW loan_data.deployment_intervals AS
SELECT deployment_seq, slot, version, kind, pinned, previous, actor, reason,
       deployed_at AS live_from,
       lead(deployed_at) OVER (PARTITION BY slot ORDER BY deployment_seq) AS live_to,
       as_of AS live_from_event_time,
       lead(as_of) OVER (PARTITION BY slot ORDER BY deployment_seq) AS live_to_event_time
FROM loan_data.deployments;

-- ── every service, its own rows ────────────────────────────────────────────────────────────────────────

CREATE TABLE loan_data.alerts (
    alert_id  uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    service   text NOT NULL,
    kind      text NOT NULL,
    dedup_key text NOT NULL UNIQUE,             -- one alert for one fact, however often it is found
    severity  text NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    message   text NOT NULL,
    details   jsonb NOT NULL DEFAULT '{}',
    raised_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE loan_data.outbox (
    outbox_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    service     text NOT NULL,
    topic       text NOT NULL,
    message_key text NOT NULL,
    payload     bytea NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX outbox_service ON loan_data.outbox (service, outbox_id);

-- What runs, and which deployment each predictor has applied.
CREATE TABLE loan_data.service_instances (
    instance_id    text PRIMARY KEY,
    service        text NOT NULL,
    host           text NOT NULL,
    pid            integer NOT NULL,
    url            text,
    version        text,
    deployment_seq bigint,
    detail         jsonb NOT NULL DEFAULT '{}',
    started_at     timestamptz NOT NULL DEFAULT now(),
    seen_at        timestamptz NOT NULL DEFAULT now()
);

-- ── partitions ─────────────────────────────────────────────────────────────────────────────────────────

-- Monthly partitions from this month to months_ahead from now; idempotent. Writers call it at start and daily.
CREATE FUNCTION loan_data.ensure_partitions(months_ahead integer DEFAULT 3) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    parent text;
    month  timestamptz;
BEGIN
    -- Two services starting at once would both find the partition missing.
    PERFORM pg_advisory_xact_lock(hashtext('loan_data.ensure_partitions'));
    FOREACH parent IN ARRAY ARRAY['raw_data', 'predictions'] LOOP
        FOR i IN 0..months_ahead LOOP
            month := date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' + make_interval(months => i);
            EXECUTE format(
                'CREATE TABLE IF NOT EXISTS loan_data.%I PARTITION OF loan_data.%I FOR VALUES FROM (%L) TO (%L)',
                parent || '_' || to_char(month AT TIME ZONE 'UTC', 'YYYY_MM'), parent,
                month, (month AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC');
        END LOOP;
    END LOOP;
END $$;
DO $$ BEGIN PERFORM loan_data.ensure_partitions(); END $$;
