"""Backups: an installation's database, portfolio and place in Kafka as a folder of plain files, and the way back."""
