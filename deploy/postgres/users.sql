-- Who logs in to the database beside its owner. Run again after each migration: `docker compose up` does.
\set ON_ERROR_STOP on
\set password `cat /run/secrets/grafana/password`

SELECT 'CREATE ROLE grafana LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'grafana') \gexec
ALTER ROLE grafana LOGIN PASSWORD :'password' CONNECTION LIMIT 10;
-- A viewer's browser decides what Grafana asks: it may read, and not for long.
ALTER ROLE grafana SET default_transaction_read_only = on;
ALTER ROLE grafana SET statement_timeout = '30s';
GRANT USAGE ON SCHEMA loan_data TO grafana;
GRANT SELECT ON ALL TABLES IN SCHEMA loan_data TO grafana;
ALTER DEFAULT PRIVILEGES IN SCHEMA loan_data GRANT SELECT ON TABLES TO grafana;
