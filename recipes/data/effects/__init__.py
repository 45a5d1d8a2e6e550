"""What every recipe may do to the sources of its mixtures: levels, beats, rooms, devices, queries."""
