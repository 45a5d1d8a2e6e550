"""Files of models and of users: from the hub, read safely, handled in order by threads."""
