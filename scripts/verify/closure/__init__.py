"""Is every requirement met within the environment: packages, virtual packages, the manifest's."""
