"""What ours is measured against, a module a family. Every package is optional: what is absent is said and left out."""
