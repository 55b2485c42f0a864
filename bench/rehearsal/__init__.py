"""The command that would have found the story's failure before production, and its verdicts."""
