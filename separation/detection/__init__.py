"""Which sounds are in a recording, and when: classes, their hierarchy, and what detects them."""
