-- Which deployment a challenger was judged against is what the next look depends on: a column, not a key in metrics.

ALTER TABLE loan_data.model_performance
    ADD COLUMN judged_seq bigint;               -- gate: the live deployment it was judged against, 0: none
UPDATE loan_data.model_performance
SET judged_seq = (metrics ->> 'judged_seq')::bigint, metrics = metrics - 'judged_seq'
WHERE kind = 'gate';
