"""What the datasets service can do: one use case a function. Knows no messages; gets all it needs as arguments."""
