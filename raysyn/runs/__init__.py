"""What a run leaves: its folder, here or on an object store, what may leave it, and how it is sealed."""
