"""How things look in a terminal, and as plain lines where there is none."""
