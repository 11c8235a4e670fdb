-- A role for each service, which may write its own tables alone; a DBA grants it to the user that the service logs in as.
-- They belong to the whole server and not every account may create them, so they are made and granted by a function, which
-- `loanloop migrate` calls each time: in a database of before, after a restore, after a migration that adds a table.

-- Creates what is missing, grants what each may do, takes back what it may no longer; returns the roles that are missing
-- because this account may not create them.
CREATE FUNCTION loan_data.grant_roles() RETURNS text[] LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    missing text[] := '{}';
    member  text;
    own     record;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('loan_data.grant_roles'));
    FOREACH member IN ARRAY ARRAY['loanloop_ingest', 'loanloop_predictor', 'loanloop_trainer', 'loanloop_evaluator',
                                  'loanloop_operator', 'loanloop_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = member) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', member);
            EXCEPTION
                WHEN insufficient_privilege THEN
                    missing := missing || member;
                    CONTINUE;
                WHEN duplicate_object OR unique_violation THEN
                    NULL;  -- made meanwhile, from another database of this server
            END;
        END IF;
        EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA loan_data FROM %I', member);
        EXECUTE format('GRANT USAGE ON SCHEMA loan_data TO %I', member);
        EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA loan_data TO %I', member);
        EXECUTE format('GRANT SELECT ON ALL SEQUENCES IN SCHEMA loan_data TO %I', member);
        IF member IN ('loanloop_ingest', 'loanloop_predictor') THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION loan_data.ensure_partitions(integer) TO %I', member);
        END IF;
        IF member IN ('loanloop_ingest', 'loanloop_predictor', 'loanloop_trainer', 'loanloop_evaluator') THEN
            EXECUTE format('GRANT INSERT ON loan_data.installation, loan_data.rejected, loan_data.alerts TO %I', member);
            EXECUTE format('GRANT INSERT, DELETE ON loan_data.outbox TO %I', member);
            EXECUTE format('GRANT INSERT, UPDATE, DELETE ON loan_data.service_instances TO %I', member);
        END IF;
    END LOOP;
    FOR own IN
        SELECT * FROM (VALUES
            ('loanloop_ingest', 'event_keys', 'INSERT'),
            ('loanloop_ingest', 'raw_data', 'INSERT'),
            ('loanloop_ingest', 'processed_data', 'INSERT, UPDATE'),
            ('loanloop_ingest', 'duplicates', 'INSERT'),
            ('loanloop_ingest', 'data_quality', 'INSERT, UPDATE'),
            ('loanloop_ingest', 'collected_files', 'INSERT, UPDATE'),
            ('loanloop_predictor', 'decision_keys', 'INSERT'),
            ('loanloop_predictor', 'predictions', 'INSERT'),
            ('loanloop_trainer', 'training_runs', 'INSERT, UPDATE'),
            ('loanloop_trainer', 'training_rows', 'INSERT'),
            ('loanloop_trainer', 'model_metadata', 'INSERT'),
            ('loanloop_trainer', 'tunings', 'INSERT, UPDATE'),
            ('loanloop_trainer', 'tuning_trials', 'INSERT'),
            ('loanloop_evaluator', 'model_performance', 'INSERT, UPDATE'),
            ('loanloop_evaluator', 'breaches', 'INSERT, UPDATE'),
            ('loanloop_evaluator', 'deployments', 'INSERT'),
            -- The commands: retrain, tune; promote, rollback, unpin; dlq, which marks what was sent again.
            ('loanloop_operator', 'training_runs', 'INSERT, UPDATE'),
            ('loanloop_operator', 'training_rows', 'INSERT'),
            ('loanloop_operator', 'tunings', 'INSERT, UPDATE'),
            ('loanloop_operator', 'tuning_trials', 'INSERT'),
            ('loanloop_operator', 'breaches', 'UPDATE'),
            ('loanloop_operator', 'deployments', 'INSERT'),
            ('loanloop_operator', 'outbox', 'INSERT'),
            ('loanloop_operator', 'rejected', 'UPDATE')
        ) AS granted (role, relation, privileges)
    LOOP
        IF own.role <> ALL (missing) THEN
            EXECUTE format('GRANT %s ON loan_data.%I TO %I', own.privileges, own.relation, own.role);
        END IF;
    END LOOP;
    RETURN missing;
END $$;
REVOKE EXECUTE ON FUNCTION loan_data.grant_roles() FROM PUBLIC;

-- A partition belongs to whoever creates it, and only the owner of the table may: the services ask for it by this function,
-- which runs as the account that applied the migrations.
ALTER FUNCTION loan_data.ensure_partitions(integer) SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE EXECUTE ON FUNCTION loan_data.ensure_partitions(integer) FROM PUBLIC;
