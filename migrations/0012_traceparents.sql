-- The W3C trace context of what waits to be published, and of what was refused: it goes on when the event leaves, or when
-- a dead letter is sent again. NULL: none came with it.

ALTER TABLE loan_data.outbox ADD COLUMN traceparent text;
ALTER TABLE loan_data.rejected ADD COLUMN traceparent text;
