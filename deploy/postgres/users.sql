-- Who logs in to the database beside its owner: each by its own name, with the rights that migrations/0013_who_did_it.sql grants its
-- role. Run again after each migration: `docker compose up` does.
\set ON_ERROR_STOP on
SET client_min_messages = 'warning';  -- each grant that is there already would be a line
-- A statement that fails is written to PostgreSQL's log as it came, with its password.
SET log_statement = 'none';
SET log_min_error_statement = 'panic';
SET log_min_duration_statement = -1;
\set ingest `cat /run/secrets/ingest/password`
\set predictor `cat /run/secrets/predictor/password`
\set trainer `cat /run/secrets/trainer/password`
\set evaluator `cat /run/secrets/evaluator/password`
\set operator `cat /run/secrets/operator/password`
\set backup `cat /run/secrets/backup/password`
\set page `cat /run/secrets/page/password`
\set grafana `cat /run/secrets/grafana/password`

SELECT '' IN (:'ingest', :'predictor', :'trainer', :'evaluator', :'operator', :'page', :'backup', :'grafana')
    AS is_missing \gset
\if :is_missing
    DO $$ BEGIN RAISE 'a password is missing: mount each NAME/password of `loanloop passwords` under /run/secrets'; END $$;
\endif

SELECT format('CREATE ROLE %I LOGIN', name)
FROM unnest(ARRAY['ingest', 'predictor', 'trainer', 'evaluator', 'operator', 'page', 'backup', 'grafana']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec

ALTER ROLE ingest PASSWORD :'ingest';
ALTER ROLE predictor PASSWORD :'predictor';
ALTER ROLE trainer PASSWORD :'trainer';
ALTER ROLE evaluator PASSWORD :'evaluator';
ALTER ROLE operator PASSWORD :'operator';
ALTER ROLE page PASSWORD :'page';
ALTER ROLE backup PASSWORD :'backup';
ALTER ROLE grafana PASSWORD :'grafana' CONNECTION LIMIT 10;
GRANT loanloop_ingest TO ingest;
GRANT loanloop_predictor TO predictor;
GRANT loanloop_trainer TO trainer;
GRANT loanloop_evaluator TO evaluator;
GRANT loanloop_operator TO operator;
GRANT loanloop_backup TO backup;
GRANT loanloop_reader TO page, grafana;

-- A viewer's browser decides what Grafana asks: it may read, and not for long.
ALTER ROLE grafana SET default_transaction_read_only = on;
ALTER ROLE grafana SET statement_timeout = '30s';
