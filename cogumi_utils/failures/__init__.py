"""Where a student still fails: answers → vectors → clusters → named patterns, each with its region and its rate."""
