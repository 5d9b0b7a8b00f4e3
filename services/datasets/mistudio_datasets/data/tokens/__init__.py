"""From texts to token ids on disk, and reading them back."""
