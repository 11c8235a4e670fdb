-- The reconciliation of stored and decided payloads looks at the newest keys alone, among all there ever were. Keys
-- come in the order of time, so an index of block ranges finds them, at next to no cost for each key.

CREATE INDEX event_keys_received_at ON loan_data.event_keys USING brin (received_at);
CREATE INDEX decision_keys_decided_at ON loan_data.decision_keys USING brin (decided_at);
