"""The embedded stack: everything miStudio needs on one machine, from pip alone, as supervised processes."""
