"""From rows to the texts that are tokenized: columns, conversations, cleaning."""
