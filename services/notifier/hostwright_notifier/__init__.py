"""Orders on a Linux desktop: a native notification of each change, and a click that opens the order."""
