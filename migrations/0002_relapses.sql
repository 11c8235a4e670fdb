-- A breach that opens again soon after its recovery is the same breach, with the attempts it has had.

ALTER TABLE loan_data.breaches ADD COLUMN relapses integer NOT NULL DEFAULT 0;
