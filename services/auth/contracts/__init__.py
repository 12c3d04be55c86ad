"""What auth publishes for each application: paths, fields, codes and texts."""
