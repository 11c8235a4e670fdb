-- A run also freezes loans of its window whose end isn't known, for pretraining. They have no label; what counts labelled
-- loans, n_rows, goes on counting those alone.

ALTER TABLE loan_data.training_rows ALTER COLUMN defaulted DROP NOT NULL;
ALTER TABLE loan_data.training_runs ADD COLUMN n_unlabelled bigint NOT NULL DEFAULT 0;
