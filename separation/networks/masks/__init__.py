"""Front and back ends of mask separators: from waveforms to what a network sees, and from its masks to
waveforms."""
