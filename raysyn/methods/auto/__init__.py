"""`raysyn auto`: which method and settings for which images, from a table of runs that were measured."""
