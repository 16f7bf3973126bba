"""What the tasks are made of: one folder a stage, in the order in which data flows."""
