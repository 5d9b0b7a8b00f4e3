"""An engine at work."""

from __future__ import annotations

from tests.jobs_stand import jobs_database, jobs_template, stand

__all__ = ["jobs_database", "jobs_template", "stand"]
