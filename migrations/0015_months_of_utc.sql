-- A month began in the time zone of the session that asked, and migrations ask in the server's: behind a change to or from
-- summer time, or a short month, partitions had a gap between them or overlapped. Now it is no session's business.

CREATE FUNCTION loan_data.ensure_partition(parent text, month timestamp) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format(
        'CREATE TABLE IF NOT EXISTS loan_data.%I PARTITION OF loan_data.%I FOR VALUES FROM (%L) TO (%L)',
        parent || to_char(month, '_YYYY_MM'), parent,
        to_char(month, 'YYYY-MM-DD 00:00:00+00'), to_char(month + interval '1 month', 'YYYY-MM-DD 00:00:00+00'));
END $$;
REVOKE EXECUTE ON FUNCTION loan_data.ensure_partition(text, timestamp) FROM PUBLIC;

-- As in 0001, with the rights of 0011.
CREATE OR REPLACE FUNCTION loan_data.ensure_partitions(months_ahead integer DEFAULT 3) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    parent text;
BEGIN
    -- Two services starting at once would both find the partition missing.
    PERFORM pg_advisory_xact_lock(hashtext('loan_data.ensure_partitions'));
    FOREACH parent IN ARRAY ARRAY['raw_data', 'predictions'] LOOP
        FOR i IN 0..months_ahead LOOP
            PERFORM loan_data.ensure_partition(
                parent, date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => i));
        END LOOP;
    END LOOP;
END $$;

-- What an hour or a day off was made is made anew, and its rows go to the months that they belong to. Nearly all of them were
-- made ahead of time and are empty; one with rows is copied, in this transaction, while nobody else gets at the table.
DO $$
DECLARE
    parent text;
    key    text;
    wrong  text[];
    name   text;
    month  timestamp;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('loan_data.ensure_partitions'));
    FOR parent, key IN VALUES ('raw_data', 'received_at'), ('predictions', 'decided_at') LOOP
        wrong := ARRAY(
            SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid
            WHERE inhparent = format('loan_data.%I', parent)::regclass AND relkind = 'r'
              AND relname ~ ('^' || parent || '_\d{4}_\d\d$')
              AND EXISTS (
                  SELECT FROM regexp_matches(pg_get_expr(relpartbound, oid), '''([^'']+)''', 'g') AS bound,
                              LATERAL (SELECT bound[1]::timestamptz AT TIME ZONE 'UTC' AS at) AS of_utc
                  WHERE at <> date_trunc('month', at)
              ));
        FOREACH name IN ARRAY wrong LOOP
            EXECUTE format('ALTER TABLE loan_data.%I DETACH PARTITION loan_data.%I', parent, name);
            EXECUTE format('ALTER TABLE loan_data.%I RENAME TO %I', name, name || '_wrong');
        END LOOP;
        FOREACH name IN ARRAY wrong LOOP
            FOR month IN EXECUTE format(
                'SELECT DISTINCT date_trunc(''month'', %I AT TIME ZONE ''UTC'') FROM loan_data.%I', key, name || '_wrong')
            LOOP
                PERFORM loan_data.ensure_partition(parent, month);
            END LOOP;
            EXECUTE format('INSERT INTO loan_data.%1$I (%2$s) SELECT %2$s FROM loan_data.%3$I', parent,
                loan_data.columns_without(format('loan_data.%I', parent)::regclass, VARIADIC '{}'), name || '_wrong');
            EXECUTE format('DROP TABLE loan_data.%I', name || '_wrong');
        END LOOP;
    END LOOP;
    PERFORM loan_data.ensure_partitions();
END $$;
