-- A topic that is made anew counts its offsets from 0 again: a place alone names no message. With what lay there the
-- key still keeps a redelivery out, and takes another message at an old place.

ALTER TABLE loan_data.rejected
    DROP CONSTRAINT rejected_pkey,
    ADD PRIMARY KEY (topic, kafka_partition, kafka_offset, service, payload_sha256);
ALTER TABLE loan_data.duplicates
    DROP CONSTRAINT duplicates_pkey,
    ADD PRIMARY KEY (topic, kafka_partition, kafka_offset, event_id);
