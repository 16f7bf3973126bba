"""Builder repositories: made from the template, and brought up to a newer one."""
