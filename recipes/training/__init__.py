"""Training: recipes, tasks, the loop and what it writes."""
