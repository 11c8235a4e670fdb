-- Each index of predictions costs every decision. Nothing looks a decision up by its event in this table (decision_keys
-- does that), and decision_id is ordered by time as decided_at is.

DROP INDEX loan_data.predictions_event_id;
DROP INDEX loan_data.predictions_decided_at;
