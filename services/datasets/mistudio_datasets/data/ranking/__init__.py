"""Rows ranked by the words they hold, by an index or by reading all."""
