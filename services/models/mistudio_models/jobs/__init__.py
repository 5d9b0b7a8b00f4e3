"""What the service's workers do: the kinds of jobs, their handlers, and what their ends do to a model."""
