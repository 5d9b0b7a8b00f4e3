"""Views of tokenizations as sequences, and their export."""
