"""Files in, files out: reading datasets, uploads, tokenizing, counting. No tables, no network, no messages."""
