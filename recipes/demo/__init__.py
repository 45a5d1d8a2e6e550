"""The demo's scene, the script that makes it, and the scores of its results."""
