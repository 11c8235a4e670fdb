-- Who did what, as the database itself knows it, beside the name that was given; and roles that read no more than they need.

-- `login` is who was logged in when the row was made. Nobody but the owner of the tables may write it (grant_roles leaves it
-- out), so it is the default. NULL: a row of before.
ALTER TABLE loan_data.deployments ADD COLUMN login text;
ALTER TABLE loan_data.deployments ALTER COLUMN login SET DEFAULT session_user;
ALTER TABLE loan_data.training_runs ADD COLUMN login text;
ALTER TABLE loan_data.training_runs ALTER COLUMN login SET DEFAULT session_user;
ALTER TABLE loan_data.tunings ADD COLUMN login text;
ALTER TABLE loan_data.tunings ALTER COLUMN login SET DEFAULT session_user;

-- What is done to a row that is there: the name that was given, and by a trigger who was logged in. A restore only inserts.
ALTER TABLE loan_data.tunings ADD COLUMN forgotten_by text, ADD COLUMN forgotten_login text;
ALTER TABLE loan_data.rejected ADD COLUMN replayed_by text, ADD COLUMN replayed_login text;

CREATE FUNCTION loan_data.note_who_forgets() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.forgotten_login := session_user;
    RETURN NEW;
END $$;
CREATE TRIGGER tunings_forgotten BEFORE UPDATE OF forgotten_at, forgotten_by ON loan_data.tunings
    FOR EACH ROW EXECUTE FUNCTION loan_data.note_who_forgets();

CREATE FUNCTION loan_data.note_who_replays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.replayed_login := session_user;
    RETURN NEW;
END $$;
CREATE TRIGGER rejected_replayed BEFORE UPDATE OF replayed_at, replayed_by ON loan_data.rejected
    FOR EACH ROW EXECUTE FUNCTION loan_data.note_who_replays();

CREATE OR REPLACE VIEW loan_data.deployment_intervals AS
SELECT deployment_seq, slot, version, kind, pinned, previous, actor, reason,
       deployed_at AS live_from,
       lead(deployed_at) OVER (PARTITION BY slot ORDER BY deployment_seq) AS live_to,
       as_of AS live_from_event_time,
       lead(as_of) OVER (PARTITION BY slot ORDER BY deployment_seq) AS live_to_event_time,
       login
FROM loan_data.deployments;

-- The columns of a table but those named, as a list for GRANT.
CREATE FUNCTION loan_data.columns_without(relation regclass, VARIADIC names text[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
    WHERE attrelid = relation AND attnum > 0 AND NOT attisdropped AND attname <> ALL (names)
$$;

-- As in 0011, and: the list of applied migrations is read by all; `login` is written by nobody; `loanloop_backup` reads all;
-- `loanloop_reader` no longer reads the messages as they came, what waits to be sent, or models' bytes.
CREATE OR REPLACE FUNCTION loan_data.grant_roles() RETURNS text[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    missing    text[] := '{}';
    member     text;
    own        record;
    readable   record;
    migrations regclass := to_regclass('public._yoyo_migration');
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('loan_data.grant_roles'));
    FOREACH member IN ARRAY ARRAY['loanloop_ingest', 'loanloop_predictor', 'loanloop_trainer', 'loanloop_evaluator',
                                  'loanloop_operator', 'loanloop_backup', 'loanloop_reader'] LOOP
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
        EXECUTE format('GRANT SELECT ON ALL SEQUENCES IN SCHEMA loan_data TO %I', member);
        IF migrations IS NOT NULL THEN
            EXECUTE format('GRANT SELECT ON %s TO %I', migrations, member);
        END IF;
        IF member <> 'loanloop_reader' THEN
            EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA loan_data TO %I', member);
        END IF;
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
            ('loanloop_trainer', 'training_runs', 'INSERT %1$s, UPDATE %1$s'),
            ('loanloop_trainer', 'training_rows', 'INSERT'),
            ('loanloop_trainer', 'model_metadata', 'INSERT'),
            ('loanloop_trainer', 'tunings', 'INSERT %1$s, UPDATE %1$s'),
            ('loanloop_trainer', 'tuning_trials', 'INSERT'),
            ('loanloop_evaluator', 'model_performance', 'INSERT, UPDATE'),
            ('loanloop_evaluator', 'breaches', 'INSERT, UPDATE'),
            ('loanloop_evaluator', 'deployments', 'INSERT %1$s'),
            -- The commands: retrain, tune; promote, rollback, unpin; dlq, which marks what was sent again.
            ('loanloop_operator', 'training_runs', 'INSERT %1$s, UPDATE %1$s'),
            ('loanloop_operator', 'training_rows', 'INSERT'),
            ('loanloop_operator', 'tunings', 'INSERT %1$s, UPDATE %1$s'),
            ('loanloop_operator', 'tuning_trials', 'INSERT'),
            ('loanloop_operator', 'breaches', 'UPDATE'),
            ('loanloop_operator', 'deployments', 'INSERT %1$s'),
            ('loanloop_operator', 'outbox', 'INSERT'),
            ('loanloop_operator', 'rejected', 'UPDATE (replayed_at, replayed_by)')
        ) AS granted (role, relation, privileges)
    LOOP
        IF own.role <> ALL (missing) THEN
            EXECUTE format('GRANT %s ON loan_data.%I TO %I', format(own.privileges, '(' || loan_data.columns_without(
                format('loan_data.%I', own.relation)::regclass, 'login', 'forgotten_login') || ')'), own.relation, own.role);
        END IF;
    END LOOP;
    IF 'loanloop_reader' <> ALL (missing) THEN
        FOR readable IN  -- no partition: who may read one by its own name reads all of its columns
            SELECT oid::regclass AS relation, loan_data.columns_without(oid, VARIADIC coalesce(withheld, '{}')) AS columns
            FROM pg_class LEFT JOIN (VALUES
                ('raw_data', '{payload}'::text[]),
                ('predictions', '{features}'),
                ('rejected', '{payload,message_key}'),
                ('model_metadata', '{bundle}'),
                ('training_runs', '{checkpoint}')
            ) AS partly (relname, withheld) USING (relname)
            WHERE relnamespace = 'loan_data'::regnamespace AND relkind IN ('r', 'p', 'v') AND NOT relispartition
                AND relname NOT IN ('outbox', 'training_rows')
        LOOP
            EXECUTE format('GRANT SELECT (%s) ON %s TO loanloop_reader', readable.columns, readable.relation);
        END LOOP;
    END IF;
    RETURN missing;
END $$;
