"""Point clouds: extraction from the field, files, measures and pictures."""
