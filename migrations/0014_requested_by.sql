-- Which key or token asked for a decision by REST. NULL: by stream, of before, or where nobody is asked who they are.
ALTER TABLE loan_data.predictions ADD COLUMN requested_by text;
