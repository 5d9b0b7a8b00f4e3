"""The datasets service: datasets from the Hub or from local files, and their tokenizations."""
