"""Where hosts come from: each driver is a module with `build(settings) -> [host record]`."""
