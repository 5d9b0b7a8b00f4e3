"""Pages of rows, whole cells, and rows that a query finds."""
