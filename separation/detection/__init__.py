"""Sound event detection: which sounds are in a recording and when, and AudioSet's hierarchy above them."""
