"""From spectra to masks and back to waveforms: what mask separators share."""
