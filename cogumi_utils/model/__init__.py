"""From a student to checkpoints, adapters and answers."""

import logging

# It warns at import that an optional kernel could not be fetched from a hub; the built-in one is what we want.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
