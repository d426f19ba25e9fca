"""The course's detectors, one step after the other, small, on the same scenes of digits."""
