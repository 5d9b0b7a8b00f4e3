"""Reading models: what they are, from their files; and holding them in memory."""

import logging

# It warns of an optional kernel whenever it is imported, and of a cast at every product of every 8-bit layer.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
