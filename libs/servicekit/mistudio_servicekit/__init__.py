"""How a miStudio service stands up: configuration, errors, server, channels, database, lists, store."""
