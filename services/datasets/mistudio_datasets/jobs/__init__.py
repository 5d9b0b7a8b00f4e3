"""The jobs of this service: handlers that run in a worker's child process, and what their turns do to a resource."""
