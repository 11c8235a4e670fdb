-- Each ordered index of processed_data costs every loan, and twice every outcome, which makes a new version of the row. When
-- something arrived grows with the table, and training reads whole months: an index of block ranges finds both.

DROP INDEX loan_data.processed_data_label_received;
DROP INDEX loan_data.processed_data_loan_received;
DROP INDEX loan_data.processed_data_occurred_at;

CREATE INDEX processed_data_label_received ON loan_data.processed_data
    USING brin (outcome_received_at) WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX processed_data_loan_received ON loan_data.processed_data
    USING brin (received_at) WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX processed_data_occurred_at ON loan_data.processed_data
    USING brin (occurred_at) WITH (pages_per_range = 32, autosummarize = on);
