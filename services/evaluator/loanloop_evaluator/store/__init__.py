"""All SQL of the evaluator, one module for each kind of fact."""
