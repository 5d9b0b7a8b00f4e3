"""What a model is, free of databases, wires and libraries."""
