"""Signal models of sounds, in numpy alone: recipes/data/synthetic.py names them by label."""
