"""From files as they come to rows on disk."""
