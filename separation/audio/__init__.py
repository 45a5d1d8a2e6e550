"""Audio files and arrays: reading, writing, sample formats, resampling."""
