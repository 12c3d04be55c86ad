"""One module an application: its paths, fields, codes and texts, over the one set of use cases."""
