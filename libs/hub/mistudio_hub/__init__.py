"""The Hugging Face Hub: what a repository holds (`metadata`), and its files brought to disk (`transfer`)."""
