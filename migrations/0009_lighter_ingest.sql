-- What an event costs ingest beside its bytes. Where an event lay is kept with its key, so raw_data needs no index by
-- event to tell a redelivery from a duplicate; of raw_data only a loan's outcomes are looked up. Features are read and
-- written whole, as text: json is that text, checked; jsonb was taken apart for each loan and put together for each read.

ALTER TABLE loan_data.event_keys
    ADD COLUMN topic text,                      -- NULL: of an ingest that knew no such column
    ADD COLUMN kafka_partition integer,
    ADD COLUMN kafka_offset bigint;
UPDATE loan_data.event_keys AS keys
SET topic = raw.topic, kafka_partition = raw.kafka_partition, kafka_offset = raw.kafka_offset
FROM loan_data.raw_data AS raw
WHERE raw.event_id = keys.event_id;
-- That wrote each row anew: without its order in time, the index of block ranges would find nothing.
CREATE INDEX event_keys_in_order ON loan_data.event_keys (received_at);
CLUSTER loan_data.event_keys USING event_keys_in_order;
DROP INDEX loan_data.event_keys_in_order;

DROP INDEX loan_data.raw_data_event_id;
DROP INDEX loan_data.raw_data_loan_id;
CREATE INDEX raw_data_outcomes ON loan_data.raw_data (loan_id) WHERE topic = 'loan.outcome';
-- By a key's received_at the bytes of its event are found.
CREATE INDEX raw_data_received_at ON loan_data.raw_data USING brin (received_at) WITH (autosummarize = on);

-- A generated column stands in the way of the type, and takes its indexes along.
ALTER TABLE loan_data.processed_data DROP COLUMN counts_at;
ALTER TABLE loan_data.processed_data ALTER COLUMN features TYPE json USING features::json;
ALTER TABLE loan_data.processed_data ADD COLUMN counts_at timestamptz GENERATED ALWAYS AS (
    CASE WHEN features IS NOT NULL AND defaulted IS NOT NULL THEN greatest(known_at, matured_at) END
) STORED;
CREATE INDEX processed_data_counts_at ON loan_data.processed_data (counts_at) WHERE counts_at IS NOT NULL;
CREATE INDEX processed_data_known_at ON loan_data.processed_data (known_at) WHERE counts_at IS NOT NULL;
