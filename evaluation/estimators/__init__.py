"""What can be evaluated: models, the unprocessed mixture, ideal masks."""
