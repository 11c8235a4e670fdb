"""The evaluator's duties. Each is one look into the database, safe to repeat and to interrupt anywhere."""
