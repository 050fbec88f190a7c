"""Smaller files, and what they cost."""

import cogumi_utils.model  # noqa: F401 - before peft and bitsandbytes: it sees to their messages
