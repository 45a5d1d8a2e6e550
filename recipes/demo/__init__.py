"""The demo's scene and the script that made it."""
