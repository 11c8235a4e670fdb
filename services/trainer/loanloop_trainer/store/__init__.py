"""All SQL of the trainer, one module for each kind of fact."""
