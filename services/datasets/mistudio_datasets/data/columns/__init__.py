"""Statistics of the columns of a dataset."""
