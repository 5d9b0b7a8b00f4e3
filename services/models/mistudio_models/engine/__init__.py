"""Reading models: what they are, from their files."""
