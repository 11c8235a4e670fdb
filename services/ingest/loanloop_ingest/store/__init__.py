"""All SQL of ingest, one module for each thing it keeps."""
