-- Searches for hyperparameters (`loanloop tune`), and where a run's hyperparameters came from.

-- Writer: trainer (its code, which the command runs). Not finished: a search that goes on when it is asked for again.
CREATE TABLE loan_data.tunings (
    tuning_id    integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    portfolio    text NOT NULL,
    schema_hash  text NOT NULL,
    source       text NOT NULL,                 -- 'database', or 'file NAME'
    base         jsonb NOT NULL,                -- the portfolio file's hyperparameters around which it searched
    space        jsonb NOT NULL,                -- what it tried, by hyperparameter
    seed         bigint NOT NULL,
    as_of        timestamptz,                   -- database: event time of the labels
    window_from  timestamptz,                   -- database: loans after it …
    gate_from    timestamptz,                   -- … and before it, from which on loans are the gate's
    n_rows       bigint NOT NULL,
    loans_sha256 bytea NOT NULL,
    requested_by text NOT NULL,
    best_trial   integer,
    best         jsonb,                         -- its hyperparameters, of those in space
    score        double precision,              -- its ROC-AUC on the newest loans of the window
    started_at   timestamptz NOT NULL DEFAULT now(),
    finished_at  timestamptz,
    forgotten_at timestamptz                    -- from here on no training uses it
);
CREATE INDEX tunings_portfolio ON loan_data.tunings (portfolio, tuning_id DESC);

CREATE TABLE loan_data.tuning_trials (
    tuning_id       integer NOT NULL REFERENCES loan_data.tunings,
    number          integer NOT NULL,
    state           text NOT NULL CHECK (state IN ('complete', 'pruned', 'failed')),
    hyperparameters jsonb NOT NULL,
    scores          jsonb NOT NULL,             -- ROC-AUC after each epoch
    took_s          double precision NOT NULL,
    finished_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tuning_id, number)
);

ALTER TABLE loan_data.training_runs
    ADD COLUMN hyperparameters_from text NOT NULL DEFAULT 'portfolio file';
