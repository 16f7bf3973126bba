"""What every stage stands on: errors, the conda words, files, digests, the console."""
